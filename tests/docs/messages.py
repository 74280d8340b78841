"""The messages in the code: every text that is assembled there, as a pattern that its real messages match."""

import ast
import difflib
import re
from dataclasses import dataclass
from functools import cache

from reference.source_code import trees

# What a message keeps whatever it is about: so many characters, and this share of it. Less would match almost anything.
_LEAST_CONSTANT = 12
_LEAST_SHARE = 0.15
_VALUE = "\ue000"


@dataclass(frozen=True)
class Template:
    """A text of the code.

    Args:
        path: Module that it is in.
        line: Where it starts.
        parts: Constant parts, and None where a value is filled in.
        values: What is filled in, as expressions.
    """

    path: str
    line: int
    parts: tuple[str | None, ...]
    values: tuple[str, ...]

    @property
    def constant(self) -> str:
        """Return what is the same in every message."""
        return "".join(part for part in self.parts if part)

    @property
    def pattern(self) -> str:
        """Return a regular expression for the whole message."""
        return "".join(".*?" if part is None else re.escape(part) for part in self.parts)

    @property
    def shown(self) -> str:
        """Return the text with a name in angle brackets for each value."""
        names = iter(self.values)
        return "".join(f"<{_name(next(names))}>" if part is None else part for part in self.parts)


@cache
def templates() -> tuple[Template, ...]:
    """Return all texts of the product that are long enough to be recognized."""
    found = []
    for path, tree in trees().items():
        inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # Docstrings.
        inner |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if id(node) in inner:
                continue
            parts = _parts(node)
            if parts is not None:
                constants = tuple(part if isinstance(part, str) else None for part in parts)
                values = tuple(ast.unparse(part) for part in parts if isinstance(part, ast.expr))
                template = Template(path, getattr(node, "lineno", 0), constants, values)
                if len(template.constant) >= _LEAST_CONSTANT and " " in template.constant:
                    found.append(template)
    return tuple(found)


def is_a_message(text: str) -> bool:
    """Return whether a text is a message of the code, with any values."""
    return any(
        len(each.constant) >= _LEAST_SHARE * len(text)
        and all(part in text for part in each.parts if part)
        and re.fullmatch(each.pattern, text, re.DOTALL)
        for each in templates()
    )


def nearest(message: str) -> Template:
    """Return the text that is most like a message."""
    words = set(re.findall(r"\w+", message))
    alike = sorted(templates(), key=lambda each: len(words & set(re.findall(r"\w+", each.constant))))[-20:]
    return max(alike, key=lambda each: difflib.SequenceMatcher(None, each.constant, message).ratio())


def reworded(message: str) -> str:
    """Return a message in the words that the code has now, with its values where they can be found."""
    near = nearest(message)
    new = [token for part in near.parts for token in ([_VALUE] if part is None else _tokens(part))]
    old, names, text = _tokens(message), iter(near.values), ""
    for _, begin, end, old_begin, old_end in difflib.SequenceMatcher(None, new, old, autojunk=False).get_opcodes():
        alone = new[begin:end] == [_VALUE]
        for token in new[begin:end]:
            name = f"<{_name(next(names))}>" if token == _VALUE else ""
            text += (("".join(old[old_begin:old_end]) or name) if alone else name) or token
    return text if re.fullmatch(near.pattern, text, re.DOTALL) else near.shown


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+|\W", text)


def _name(expression: str) -> str:
    """Return the last name in an expression, for people."""
    names = re.findall(r"[a-z_]\w*", re.sub(r"""(['"]).*?\1""", "", expression))
    return names[-1].strip("_").replace("_", " ") if names else "value"


def _parts(node: ast.AST) -> list[str | ast.expr] | None:
    """Return the parts of a text, expressions where values are filled in; None for what is not a text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return [part.value if isinstance(part, ast.Constant) else part for part in node.values]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _parts(node.left), _parts(node.right)
        if left is None and right is None:
            return None
        return [*(left or [node.left]), *(right or [node.right])]
    return None

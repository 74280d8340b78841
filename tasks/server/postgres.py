"""One PostgreSQL database for both servers, each in a schema of its own."""

import urllib.parse

from cl_core.errors import InfrastructureError, InputError
from tasks.adapters.mlflow.connection import redacted_uri

SCHEMAS = ("prefect", "mlflow")


def prepare_database(database_url: str) -> None:
    """Create the schemas, and the extension that Prefect searches names with, unless they exist.

    Args:
        database_url: `postgresql://USER:PASSWORD@HOST:PORT/NAME`.

    Raises:
        InputError: When the address is not one of PostgreSQL, or its user may not create schemas.
        InfrastructureError: When nothing answers there.
    """
    import psycopg

    where = redacted_uri(database_url)
    if urllib.parse.urlsplit(database_url).scheme not in ("postgresql", "postgres"):
        raise InputError(f"CL_DATABASE_URL must be postgresql://USER:PASSWORD@HOST/NAME; got {where}")
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            for schema in SCHEMAS:
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public")
    except psycopg.OperationalError as error:
        raise InfrastructureError(
            f"cannot connect to PostgreSQL at {where} ({str(error).strip().splitlines()[-1]}); "
            "start it, or correct CL_DATABASE_URL"
        ) from error
    except psycopg.Error as error:
        raise InputError(
            f"PostgreSQL at {where} refuses to create the schemas {' and '.join(SCHEMAS)} "
            f"({str(error).strip().splitlines()[0]}); make the user of CL_DATABASE_URL the owner of its database"
        ) from error

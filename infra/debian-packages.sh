#!/usr/bin/env bash
# Installs what the tests use of Debian, where this user may; elsewhere says what to run, and the tests that need it
# are skipped by name.
set -euo pipefail
packages=(chromium chromium-driver dataset-fashion-mnist postgresql wordnet-base)
missing=()
for package in "${packages[@]}"; do
  [[ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit
command="apt-get install --yes --no-install-recommends ${missing[*]}"
if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "Tests that need ${missing[*]} will be skipped; on Debian or Ubuntu: sudo $command"
  exit
fi
echo "Installing ${missing[*]} from Debian, for tests with a real browser and a real database ..."
export DEBIAN_FRONTEND=noninteractive
$command -qq >/dev/null 2>&1 || { apt-get update -qq >/dev/null && $command -qq >/dev/null; }

#!/usr/bin/env bash
# The whole suite: lint, format, types, tests. Makes .venv first if need be. Arguments go to pytest.
set -euo pipefail

# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

echo "== ruff"
ruff check .
ruff format --check .
echo "== pyright"
pyright
echo "== pytest"
# A process for each core; a file's tests stay together, because they share what they make. "-n 0" runs them in one.
OMP_NUM_THREADS=1 python -m pytest -n auto --dist loadfile "$@"

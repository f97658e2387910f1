# shellcheck shell=bash
# Sourced by the other scripts: leaves an up-to-date .venv in the repository, its commands first in PATH, and the
# repository's root as the working directory. Takes well under a second when there is nothing to do.
# PYTHON=/path/to/python chooses the interpreter of a new .venv.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment_fail() {
    echo "scripts/environment.sh: $*" >&2
    exit 1
}

sha256_of() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

# A python that can run this project; prints its path.
find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.10 python3 python; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# Make .venv with uv in it. Debian splits venv and pip off its python, so there is more than one way.
make_venv() {
    local python=$1 tools
    if "$python" -c 'import ensurepip, venv' 2>/dev/null && "$python" -m venv --clear .venv; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
    elif command -v uv >/dev/null; then
        uv venv --clear --quiet --python "$python" .venv
        uv pip install --quiet --python .venv/bin/python uv
    elif "$python" -m pip --version >/dev/null 2>&1; then
        tools=$(mktemp -d)
        "$python" -m pip install --quiet --disable-pip-version-check --target "$tools" uv
        "$tools/bin/uv" venv --clear --quiet --python "$python" .venv
        "$tools/bin/uv" pip install --quiet --python .venv/bin/python uv
        rm -rf "$tools"
    else
        environment_fail "$python has neither venv nor pip: install them first, on Debian and Ubuntu with" \
            "'apt-get install python3-venv'."
    fi
}

install_packages() {
    local pins=requirements.lock dependencies=--no-deps
    if [[ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]]; then
        # The lock is for 64-bit Linux; elsewhere only the three that matter most are fixed.
        pins=.venv/pins.txt dependencies=
        grep -E '^(torch|torchvision|nerfstudio)==' requirements.lock >"$pins"
    fi
    # shellcheck disable=SC2086
    .venv/bin/uv pip install --python .venv/bin/python $dependencies -r "$pins" -e '.[dev]'
}

update_environment() {
    local stamp wanted python
    stamp=.venv/installed.sha256
    wanted=$(cat requirements.lock pyproject.toml <(pwd) | sha256_of)
    if [[ ! -x .venv/bin/python || "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]]; then
        echo "== Installing into $PWD/.venv"
        if ! { [[ -x .venv/bin/python ]] && .venv/bin/python -c 'import sys' 2>/dev/null; }; then
            python=$(find_python) || environment_fail "no Python 3.10, 3.11 or 3.12 was found (PYTHON=/path/to/python" \
                "names one): install one, on Debian and Ubuntu with 'apt-get install python3 python3-venv'."
            make_venv "$python"
        elif [[ ! -x .venv/bin/uv ]]; then
            .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
        fi
        rm -f "$stamp"
        install_packages
        echo "$wanted" >"$stamp"
    fi
    export PATH="$PWD/.venv/bin:$PATH"
    export VIRTUAL_ENV="$PWD/.venv"
}

update_environment

# Sourced by tools/idse and tools/test: makes and refreshes $root/.venv. Messages go to stderr so that
# the output of idse stays its own.

die() {
    echo "idse: $*" >&2
    exit 2
}

# Usage: need_command COMMAND DEBIAN_PACKAGE...
need_command() {
    wanted=$1
    shift
    command -v "$wanted" >/dev/null 2>&1 && return 0
    install_debian "$@"
    command -v "$wanted" >/dev/null 2>&1 || die "$wanted is missing: apt-get install -y $*"
}

# Usage: install_debian PACKAGE...   (installs as root, else names the command)
install_debian() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 ||
        die "missing system packages, run: sudo apt-get install -y $*"
    echo "idse: installing Debian packages: $*" >&2
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends "$@") >&2 || die "apt-get install -y $* failed"
}

# Usage: ensure_environment EXTRAS   (comma separated)
ensure_environment() {
    venv=$root/.venv
    stamp=$venv/.idse-$(echo "$1" | tr ',' '-')
    # The test environment holds everything that the others do.
    fresh "$stamp" || fresh "$venv/.idse-test" || install_environment "$1"
}

# Usage: fresh STAMP   (nothing that is compiled or resolved at install is newer; costs one find)
fresh() {
    [ -f "$1" ] && [ -z "$(find "$root/native" "$root/pyproject.toml" \
        "$root/tools/constraints.txt" -newer "$1" -print 2>/dev/null | head -n 1)" ]
}

install_environment() {
    need_command python3 python3
    need_command cc gcc
    # libjpeg-turbo's headers: the JPEG shim in native/jpeg is compiled against them.
    printf '#include <stdio.h>\n#include <jpeglib.h>\n' | cc -E - >/dev/null 2>&1 ||
        install_debian libjpeg62-turbo-dev
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$(python3 --version) is too old: 3.11 or later is needed"
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian python3-venv
    # Two first uses at once must not build into the same environment.
    (
        flock 9 2>/dev/null || true
        [ -x "$venv/bin/python" ] || python3 -m venv "$venv" >&2 || die "cannot make $venv"
        echo "idse: installing into $venv (extras: $1); the first time takes minutes" >&2
        "$venv/bin/python" -m pip install -q --disable-pip-version-check \
            -c "$root/tools/constraints.txt" -e "$root[$1]" >&2 || exit 2
        touch "$stamp"
    ) 9>"$root/.venv.lock" || die "installation failed, see above; to start over: rm -r $venv"
}

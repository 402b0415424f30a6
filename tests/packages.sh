# Sourced by the scripts: what they need of the system.

# Rust itself comes from rustup; a distribution's may be too old.
need_rust() {
    if ! command -v cargo > /dev/null; then
        echo 'cargo is missing: install Rust 1.89 or newer, with rustup' >&2
        exit 1
    fi
}

# Whether a program is there; or a library of the system's, which is named by the header that begins with its directory; or
# a module of Python's, which is named by its file.
is_there() {
    case $1 in
        *.h) echo "#include <$1>" | cc -E - > /dev/null 2>&1 ;;
        *.py) python3 -c "import ${1%.py}" > /dev/null 2>&1 ;;
        *) command -v "$1" > /dev/null ;;
    esac
}

# Installs the Debian packages of the programs and libraries that are missing; each argument is program:package,
# header:package or module.py:package.
need_packages() {
    local missing=() pair sudo=()
    for pair in "$@"; do
        is_there "${pair%%:*}" || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! command -v apt-get > /dev/null; then
        echo "please install what these Debian packages hold: ${missing[*]}" >&2
        exit 1
    fi
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}

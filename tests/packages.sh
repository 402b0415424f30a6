# Sourced by the scripts: finds and installs what they need from the system.

# Rust comes from rustup; the distribution's may be too old.
need_rust() {
    if ! command -v cargo > /dev/null; then
        echo 'cargo is missing: install Rust 1.89 or newer, with rustup' >&2
        exit 1
    fi
}

# Whether something is installed: a program; a C library, named by a header with its directory; a Python module, named by
# its file; or a plugin, named by its file with its directory.
is_installed() {
    case $1 in
        *.h) echo "#include <$1>" | cc -E - > /dev/null 2>&1 ;;
        *.py) python3 -c "import ${1%.py}" > /dev/null 2>&1 ;;
        *.so) compgen -G "/usr/lib/*/$1" > /dev/null ;;
        *) command -v "$1" > /dev/null ;;
    esac
}

# Installs the Debian packages of what is missing. Each argument is program:package, header:package or module.py:package.
need_packages() {
    local missing=() pair sudo=()
    for pair in "$@"; do
        is_installed "${pair%%:*}" || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! command -v apt-get > /dev/null; then
        echo "please install the equivalents of these Debian packages: ${missing[*]}" >&2
        exit 1
    fi
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}

# A C compiler with its library. Debian's gcc only recommends the library's headers.
compiler=(gcc:gcc stdio.h:libc6-dev)

# Sourced by the scripts: what they need of the system.

# Rust itself comes from rustup; a distribution's may be too old.
need_rust() {
    if ! command -v cargo > /dev/null; then
        echo 'cargo is missing: install Rust 1.89 or newer, with rustup' >&2
        exit 1
    fi
}

# Installs the Debian packages of the programs that are missing; each argument is program:package.
need_packages() {
    local missing=() pair sudo=()
    for pair in "$@"; do
        command -v "${pair%%:*}" > /dev/null || missing+=("${pair#*:}")
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

# Completions of cardcase for bash. In ~/.bashrc: source <(cardcase completions bash)

_cardcase() {
    local kind word more fragment
    COMPREPLY=()
    while IFS=$'\x1f' read -r kind word more fragment; do
        case $kind in
            value) COMPREPLY+=("$word") ;;
            *) _cardcase_paths "$kind" "$word" "$more" "$fragment" ;;
        esac
    done < <(command cardcase __complete bash "${COMP_LINE:0:COMP_POINT}" "$2" 2> /dev/null)
}

# Lets bash complete paths: of files with one of some extensions, or of all if there are none; of directories; or names of programs.
_cardcase_paths() {
    local kind=$1 prefix=$2 extensions=$3 fragment=$4 path found=()
    [[ $prefix && $fragment == "$prefix"* ]] && fragment=${fragment#"$prefix"} || prefix=
    case $kind in
        programs) mapfile -t found < <(compgen -c -P "$prefix" -- "$fragment") ;;
        directories) mapfile -t found < <(compgen -d -P "$prefix" -- "$fragment") ;;
        files)
            while IFS= read -r path; do
                if [[ -z $extensions || -d ${path/#\~/$HOME} || " $extensions " == *" ${path##*.} "* ]]; then
                    found+=("$prefix$path")
                fi
            done < <(compgen -f -- "$fragment")
            [[ ${#found[@]} -gt 0 ]] || mapfile -t found < <(compgen -f -P "$prefix" -- "$fragment")
            ;;
    esac
    # bash quotes them, and puts a slash after directories
    compopt -o filenames 2> /dev/null
    COMPREPLY+=("${found[@]}")
}

complete -F _cardcase cardcase

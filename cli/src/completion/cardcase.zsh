#compdef cardcase
# Completions of cardcase for zsh. In a directory of $fpath, as the file _cardcase; or in ~/.zshrc, after compinit:
# source <(cardcase completions zsh)

_cardcase() {
    local line kind word more
    local -a values shown answers
    # zsh itself matches the words, and quotes them
    answers=("${(@f)$(command cardcase __complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2> /dev/null)}")
    for line in $answers; do
        IFS=$'\x1f' read -r kind word more <<< "$line"
        case $kind in
            value)
                values+=("$word")
                shown+=("$word${more:+  -- $more}")
                ;;
            *)
                [[ -n $word ]] && compset -P "${(b)word}"
                case $kind in
                    programs) _command_names -e ;;
                    directories) _directories ;;
                    files) if [[ -n $more ]]; then _files -g "*.(${more// /|})(-.)"; else _files; fi ;;
                esac
                ;;
        esac
    done
    (( $#values )) && compadd -V cardcase -l -d shown -a values
    [[ $compstate[nmatches] -gt 0 ]]
}

if [[ $funcstack[1] == _cardcase ]]; then
    _cardcase "$@"
else
    compdef _cardcase cardcase
fi

# Completions of cardcase for fish. In ~/.config/fish/completions/cardcase.fish, or: cardcase completions fish | source

function __cardcase_complete
    set -l before (commandline --current-process --tokenize --cut-at-cursor)[2..-1]
    set -l token (commandline --current-token --cut-at-cursor)
    # fish itself matches the words, and quotes them
    for line in (command cardcase __complete fish $before "$token" 2> /dev/null)
        set -l parts (string split \x1f -- $line)
        switch $parts[1]
            case value
                printf '%s\t%s\n' $parts[2] $parts[3]
            case '*'
                __cardcase_paths $parts[1] $parts[2] $parts[3] "$token"
        end
    end
end

# Lets fish complete paths: of files with one of some extensions, or of all if there are none; of directories; or names of programs.
function __cardcase_paths --argument-names kind prefix extensions token
    set -l fragment $token
    if test -n "$prefix"
        set fragment (string sub --start (math (string length -- $prefix) + 1) -- $token)
    end
    set -l command "__fish_command_without_completions "
    test $kind = programs; and set command
    set -l found (complete --do-complete="$command$fragment")
    set -l fitting
    switch $kind
        case directories
            set fitting (string match --regex '^[^\t]*/(?:\t.*)?$' -- $found)
        case files
            test -z "$extensions"; and set fitting $found
            for extension in (string split --no-empty ' ' -- $extensions)
                set --append fitting (string match --regex '^[^\t]*\.'$extension'(?:\t.*)?$' -- $found)
            end
            test -n "$extensions"; and set --append fitting (string match --regex '^[^\t]*/(?:\t.*)?$' -- $found)
    end
    if test (count $fitting) -eq 0
        set fitting $found
    end
    for each in $fitting
        printf '%s%s\n' $prefix $each
    end
end

complete --command cardcase --no-files --keep-order --arguments '(__cardcase_complete)'

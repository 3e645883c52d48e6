# bash completion of $name; made from its --help by completion.py

_${function}_options() {
    case $$1 in
$options
    esac
}

# The words that the value of an option may be; nothing for other values. Fails where there is no such option.
_${function}_values() {
    case $$1 in
$values
    *) return 1 ;;
    esac
}

_${function}() {
    local current=$${COMP_WORDS[COMP_CWORD]} before=$${COMP_WORDS[COMP_CWORD - 1]} command=$name words=
    COMPREPLY=()
    # "--backend=c" is three words: "--backend", "=" and "c".
    [ "$$current" != = ] || current=
    [ "$$before" != = ] || before=$${COMP_WORDS[COMP_CWORD - 2]}
    [ -z "$commands" ] || [ "$$COMP_CWORD" = 1 ] || command="$name $${COMP_WORDS[1]}"
    if [[ $$before == -* ]] && words=$$(_${function}_values "$$before"); then
        :
    elif [[ $$current == -* ]]; then
        words=$$(_${function}_options "$$command")
    elif [ "$$COMP_CWORD" = 1 ] || [ "$$command" = '$name help' ]; then
        words='$commands'
    fi
    [ -z "$$words" ] || COMPREPLY=($$(compgen -W "$$words" -- "$$current"))
    [[ $${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null
}

# Names of files where nothing else fits.
complete -o default -F _$function $name

#compdef $name
# zsh completion of $name; made from its --help by completion.py

_${function}() {
  local -a commands specifications
  local command=$name
  commands=($commands)
  if (( $$#commands )); then
    if (( CURRENT == 2 )); then
      _describe command commands
      return
    fi
    command="$name $$words[2]"
    shift words
    (( CURRENT-- ))
  fi
  case $$command in
$options
  esac
  if [[ $$command == '$name help' ]]; then
    _describe command commands
  else
    _arguments -s $$specifications '*:file:_files'
  fi
}

_${function} "$$@"

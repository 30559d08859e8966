# bash completion for tcpproxy(8). The options are asked from the program itself.

_tcpproxy()
{
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}

	COMPREPLY=()
	case $previous in
	-f | -c | --config | -p | --pidfile | -a | --acp)
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		compopt -o filenames
		return
		;;
	-u | --user)
		mapfile -t COMPREPLY < <(compgen -u -- "$current")
		return
		;;
	-g | --group)
		mapfile -t COMPREPLY < <(compgen -g -- "$current")
		return
		;;
	-l | --log)
		mapfile -t COMPREPLY < <(compgen -W "stderr syslog journal" -- "$current")
		[[ $current != /* ]] || mapfile -t COMPREPLY < <(compgen -f -- "$current")
		return
		;;
	-b | --bind)
		mapfile -t COMPREPLY < <(compgen -s -- "$current")
		return
		;;
	esac
	case $current in
	-*)
		local words
		words=$("$1" --help 2>/dev/null | sed -n 's/^  \(-.\)\{0,1\},\{0,1\} *\(--[a-z-]*\)\{0,1\}.*/\1 \2/p')
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
		;;
	/* | .*)
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		compopt -o filenames
		;;
	*)
		mapfile -t COMPREPLY < <(compgen -A hostname -- "$current")
		;;
	esac
}
complete -F _tcpproxy tcpproxy

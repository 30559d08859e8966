# bash completion for tcpproxyctl(8). The commands are asked from the program itself, what they are about from the daemon.

_tcpproxyctl()
{
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} ctl=${COMP_WORDS[0]}
	local socket=() command='' i

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-s | --socket)
			socket=(-s "${COMP_WORDS[++i]}")
			;;
		-*) ;;
		*)
			command=${COMP_WORDS[i]}
			break
			;;
		esac
	done
	case $previous in
	-s | --socket | -w | --write)
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		compopt -o filenames
		return
		;;
	esac
	case $command in
	'')
		mapfile -t COMPREPLY < <(compgen -W "-s -V -h --socket --json --version --help
			$("$ctl" --help 2>/dev/null | sed -n '/^commands:/,/^$/s/^  \([a-z]\{1,\}\).*/\1/p')" -- "$current")
		;;
	drain | disable | enable)
		mapfile -t COMPREPLY < <(compgen -W "$("$ctl" "${socket[@]}" status 2>/dev/null |
			sed -n '/^SERVICE/,/^WORKER/s/^\([^ ]\{1,\}\) .*/\1/p' | grep -v -e SERVICE -e SERVER -e WORKER)" -- "$current")
		__ltrim_colon_completions "$current" 2>/dev/null
		;;
	weight | max | force | check | wait | forget)
		local after=''
		case $command in
		weight | max) after=file ;;
		force) after='up down auto' ;;
		wait) after='up down drained' ;;
		forget) after=all ;;
		esac
		mapfile -t COMPREPLY < <(compgen -W "$after $("$ctl" "${socket[@]}" servers 2>/dev/null |
			sed -n '2,$s/^[^ ]\{1,\} *\([^ ]\{1,\}\) .*/\1/p')" -- "$current")
		__ltrim_colon_completions "$current" 2>/dev/null
		;;
	connections | kill | tap)
		mapfile -t COMPREPLY < <(compgen -W "service= client= via= server= state= sort= limit=
			$("$ctl" "${socket[@]}" connections 2>/dev/null | sed -n '2,$s/^ *\([0-9]\{1,\}\) .*/\1/p')" -- "$current")
		[[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace
		;;
	log)
		mapfile -t COMPREPLY < <(compgen -W "level error warning info debug" -- "$current")
		;;
	status | counters | servers)
		mapfile -t COMPREPLY < <(compgen -W "-j" -- "$current")
		;;
	esac
}
complete -F _tcpproxyctl tcpproxyctl

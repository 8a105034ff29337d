#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Packages of this and of newer releases, without touching the machine's own
# apt: a private configuration and state directory in the cache. The mirror
# and its keyring come from the machine's own sources.
#
#   apt.sh update                  refresh the private lists
#   apt.sh names PROFILE           the names of all packages
#   apt.sh version PROFILE NAME    the version that would be taken
#   apt.sh fetch PROFILE NAME…     download just these, print the files
#   apt.sh closure PROFILE NAME…   download with all that they depend on
#   apt.sh resolve PROFILE NAME…   print name, version, architecture of those
#
# A profile is a release with its backports; of the backports, only the
# kernel's packages are preferred to the release's own.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

APT=$CACHE/apt
PROFILES=(bookworm trixie)
LISTS_MAX_AGE_MIN=1440

# One line for each source that the machine has enabled for binary packages:
# suite, URI, keyring ("-" when it names none).
machine_sources()
{
	local f

	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -r "$f" ] || continue
		awk '
		$1 == "deb" {
			key = "-"; i = 2
			if ($i ~ /^\[/) {
				opts = ""
				for (; i <= NF; i++) {
					opts = opts " " $i
					if ($i ~ /\]$/) { i++; break }
				}
				gsub(/[][]/, " ", opts)
				n = split(opts, o, " ")
				for (k = 1; k <= n; k++)
					if (sub(/^signed-by=/, "", o[k]))
						key = o[k]
			}
			print $(i + 1) "\t" $i "\t" key
		}' "$f"
	done
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -r "$f" ] || continue
		awk -v inline="$APT/keys" -v file="$f" '
		function flush(  i, j, n, m, u, s, key) {
			if (f["types"] ~ /(^| )deb( |$)/ &&
			    tolower(f["enabled"]) !~ /^ *(no|false|0)/) {
				key = "-"
				if (f["signed-by"] ~ /BEGIN PGP/) {
					key = inline "/" ++keys
					sub(/.*\//, "", file)
					key = key "-" file ".asc"
					printf "%s", block > key
					close(key)
				} else if (f["signed-by"] != "") {
					key = f["signed-by"]
					gsub(/^ +| +$/, "", key)
				}
				n = split(f["uris"], u, " ")
				m = split(f["suites"], s, " ")
				for (i = 1; i <= n; i++)
					for (j = 1; j <= m; j++)
						print s[j] "\t" u[i] "\t" key
			}
			delete f
			block = ""
		}
		/^#/ { next }
		/^[ \t]*$/ { flush(); next }
		/^[ \t]/ {
			sub(/^[ \t]+/, "")
			f[name] = f[name] " " $0
			if (name == "signed-by")
				block = block ($0 == "." ? "" : $0) "\n"
			next
		}
		{
			name = tolower(substr($0, 1, index($0, ":") - 1))
			f[name] = substr($0, index($0, ":") + 1)
		}
		END { flush() }' "$f"
	done
}

# source_line SUITE: a one-line source, or nothing if there is no mirror.
source_line()
{
	local suite=$1 want=$1 hit

	# A suite that the machine does not use is on the mirror of its own
	# release; that of the security updates is a different one.
	hit=$(awk -F '\t' -v s="$suite" '$1 == s' "$APT/machine" | head -n 1)
	if [ -z "$hit" ]; then
		case $suite in
		*-security) return 0 ;;
		*) want=$HOST_RELEASE ;;
		esac
		hit=$(awk -F '\t' -v s="$want" '$1 == s' "$APT/machine" |
		      head -n 1)
	fi
	[ -n "$hit" ] || return 0
	awk -F '\t' -v s="$suite" '{
		opts = $3 == "-" ? "" : " [signed-by=" $3 "]"
		print "deb" opts " " $2 " " s " main"
	}' <<<"$hit"
}

apt_setup()
{
	local p s

	# shellcheck disable=SC1091
	HOST_RELEASE=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	[ "$(dpkg --print-architecture)" = amd64 ] ||
		die "only amd64 machines are supported"
	[[ " ${PROFILES[*]} " == *" $HOST_RELEASE "* ]] ||
		die "this machine runs '${HOST_RELEASE:-?}', supported are:" \
		    "${PROFILES[*]}"

	mkdir -p "$APT"/{state/lists/partial,cache/archives/partial,keys,none}
	: >>"$APT/status"
	machine_sources >"$APT/machine.$$"
	mv "$APT/machine.$$" "$APT/machine"
	awk -F '\t' -v s="$HOST_RELEASE" '$1 == s { n++ } END { exit !n }' \
		"$APT/machine" ||
		die "no apt source for $HOST_RELEASE on this machine"

	# Only how to fetch is taken over (proxies, time-outs), not the hooks.
	{
		apt-config dump | grep -E '^Acquire::' |
			grep -vE '^Acquire::(Languages|IndexTargets)' || :
		cat <<-END
		Dir::Etc::Parts "$APT/none";
		Dir::Etc::SourceParts "$APT/none";
		Dir::Etc::PreferencesParts "$APT/none";
		Dir::State "$APT/state";
		Dir::State::status "$APT/status";
		Dir::Cache "$APT/cache";
		APT::Sandbox::User "root";
		APT::Get::List-Cleanup "false";
		APT::Keep-Downloaded-Packages "true";
		APT::Install-Recommends "false";
		Acquire::Languages { "none"; };
		Acquire::Retries "3";
		END
	} >"$APT/conf.$$"
	mv "$APT/conf.$$" "$APT/conf"

	: >"$APT/all.list.$$"
	for p in "${PROFILES[@]}"; do
		for s in "$p" "$p-updates" "$p-security" "$p-backports"; do
			source_line "$s"
		done >"$APT/$p.list.$$"
		cat "$APT/$p.list.$$" >>"$APT/all.list.$$"
		mv "$APT/$p.list.$$" "$APT/$p.list"
		cat >"$APT/$p.pref.$$" <<-END
		Package: linux-*
		Pin: release n=$p-backports
		Pin-Priority: 900
		END
		mv "$APT/$p.pref.$$" "$APT/$p.pref"
	done
	mv "$APT/all.list.$$" "$APT/all.list"
}

# apt_do PROFILE PROGRAM ARG…
apt_do()
{
	local profile=$1 program=$2
	shift 2

	APT_CONFIG=$APT/conf "$program" \
		-o Dir::Etc::Parts="$APT/none" -o Dir::Etc::Main=/dev/null \
		-o Dir::Etc::SourceList="$APT/$profile.list" \
		-o Dir::Etc::Preferences="$APT/$profile.pref" "$@" </dev/null
}

# A suite can be missing on a mirror, and a mirror can be out of reach while
# all that is needed is in the cache: what cannot be found later will tell.
apt_update()
{
	local log=$APT/update.log

	mkdir -p "$CACHE/locks"
	(
		flock 9
		if [ "${1:-}" != force ] &&
		   cmp -s "$APT/all.list" "$APT/updated" &&
		   [ -n "$(find "$APT/updated" \
			   -mmin -"$LISTS_MAX_AGE_MIN")" ]; then
			exit 0
		fi
		say "  APT     package lists"
		if ! apt_do all apt-get -q update >"$log" 2>&1; then
			grep -E '^(E|W|Err)' "$log" >&2 || :
			say "apt.sh: not all package lists were refreshed"
		fi
		cp "$APT/all.list" "$APT/updated"
		find "$APT/cache/archives" "$CACHE/memo" -type f \
			-atime +$CACHE_DAYS -delete 2>/dev/null || :
	) 9>"$CACHE/locks/apt"
}

# The simulation names what would be installed on an empty machine.
apt_resolve()
{
	local profile=$1 out
	shift

	out=$(apt_do "$profile" apt-get -s -q install "$@" 2>&1) || {
		tail -n 15 <<<"$out" >&2
		die "cannot resolve, for $profile: $*"
	}
	sed -nE 's/^Inst ([^ ]+) \(([^ ]+) .*\[([a-z0-9]+)\]\).*/\1 \2 \3/p' \
		<<<"$out" | sort -u
}

deb_files()
{
	awk -v dir="$APT/cache/archives" '{
		gsub(/:/, "%3a", $2)
		print dir "/" $1 "_" $2 "_" $3 ".deb"
	}'
}

# Download, and once more with fresh lists if the archive has moved on.
apt_download()
{
	local profile=$1 log=$APT/download.log
	shift

	mkdir -p "$CACHE/locks"
	(
		flock 9
		"$@" >"$log" 2>&1 && exit 0
		apt_update force
		"$@" >"$log" 2>&1 && exit 0
		tail -n 15 "$log" >&2
		die "download failed ($profile)"
	) 9>"$CACHE/locks/apt-archives"
}

missing_files()
{
	local f

	while read -r f; do
		[ -s "$f" ] || echo "$f"
	done
}

apt_closure()
{
	local profile=$1
	shift

	if [ -n "$(apt_resolve "$profile" "$@" | deb_files |
		   missing_files)" ]; then
		say "  GET     $profile: $*"
		apt_download "$profile" apt_do "$profile" apt-get -q -y \
			--download-only install "$@"
	fi
	apt_resolve "$profile" "$@" | deb_files | used
}

# used: pass on file names, and keep them from being thrown away.
used()
{
	local f

	while read -r f; do
		touch -c -a "$f"
		echo "$f"
	done
}

apt_version()
{
	apt_do "$1" apt-cache policy "$2" |
		awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'
}

apt_fetch_once()
{
	cd "$APT/cache/archives"
	apt_do "$1" apt-get -q download "${@:2}"
}

apt_fetch()
{
	local profile=$1 n
	shift

	for n; do
		[ -n "$(apt_version "$profile" "$n")" ] ||
			die "no package $n in $profile"
	done
	if [ -n "$(fetch_files "$profile" "$@" | missing_files)" ]; then
		say "  GET     $profile: $*"
		apt_download "$profile" apt_fetch_once "$profile" "$@"
	fi
	fetch_files "$profile" "$@" | used
}

fetch_files()
{
	local profile=$1 n arch
	shift

	for n; do
		arch=$(apt_do "$profile" apt-cache show --no-all-versions "$n" |
		       awk '$1 == "Architecture:" { print $2; exit }')
		echo "$n $(apt_version "$profile" "$n") $arch"
	done | deb_files
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	[ $# -ge 1 ] || die "no command (see the head of this file)"
	cmd=$1
	shift
	apt_setup
	case $cmd in
	update) apt_update force ;;
	names) apt_update; apt_do "$1" apt-cache pkgnames ;;
	version) apt_update; apt_version "$@" ;;
	fetch) apt_update; apt_fetch "$@" ;;
	closure) apt_update; apt_closure "$@" ;;
	resolve) apt_update; apt_resolve "$@" ;;
	*) die "unknown command '$cmd'" ;;
	esac
fi

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Certificates for the tests, under the names that QEMU uses: one authority in
# DIR, another one in DIR/other.
#
#   pki.sh DIR

set -euo pipefail
shopt -s inherit_errexit
umask 077

# certificate DIR NAME SUBJECT EXTENSION…: signed by the authority in DIR.
certificate()
{
	local dir=$1 name=$2 subject=$3
	shift 3

	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-subj "/CN=$subject" -keyout "$dir/$name-key.pem" \
		-out "$dir/$name.csr" 2>/dev/null
	openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca-cert.pem" \
		-CAkey "$dir/ca-key.pem" -CAcreateserial -days 3650 \
		-extfile <(printf '%s\n' 'basicConstraints=CA:FALSE' "$@") \
		-out "$dir/$name-cert.pem" 2>/dev/null
	rm "$dir/$name.csr"
}

authority()
{
	mkdir -p "$1"
	openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
		-nodes -subj "/CN=$2" -days 3650 \
		-addext 'basicConstraints=critical,CA:TRUE' \
		-addext 'keyUsage=critical,keyCertSign,cRLSign' \
		-keyout "$1/ca-key.pem" -out "$1/ca-cert.pem" 2>/dev/null
	certificate "$1" server hostB extendedKeyUsage=serverAuth \
		'subjectAltName=IP:10.9.0.2,IP:10.9.0.1,IP:127.0.0.1,DNS:hostB'
	certificate "$1" client hostA extendedKeyUsage=clientAuth
	rm "$1/ca-key.pem" "$1"/*.srl
}

authority "${1:?}" 'test authority'
authority "$1/other" 'another authority'
# Trusts both authorities, comes with a certificate of the other one.
mkdir -p "$1/mixed"
cat "$1/ca-cert.pem" "$1/other/ca-cert.pem" >"$1/mixed/ca-cert.pem"
cp "$1"/other/client-* "$1/mixed/"

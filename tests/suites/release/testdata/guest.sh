#!/bin/bash
# Runs on the Debian guest as root: what an administrator does with the package. Each
# line "== name" begins a step; "FAILED" ends the test.
set -u
here=$(dirname "$0")
old=$here/old.deb
new=$here/new.deb
state=/var/lib/sealpost

step() { echo "== $*"; }
fail() {
    echo "FAILED: $*"
    systemctl status --no-pager --lines 30 sealpost
    journalctl --no-pager --lines 60
    exit 1
}
# await runs a command until it succeeds.
await() {
    for _ in $(seq 120); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 1
    done
    fail "in two minutes not: $*"
}
delivered() { grep -rqs "Subject: $1" /home/alice/Maildir/new; }
listening() { ss -Hltn 'sport = :25' | grep -q .; }
send() {
    smtp-source -c -S "$1" -f scanner@contoso.test -t alice@contoso.test -m 1 127.0.0.1:25 || fail "sending $1"
    echo
}

step tenant
cd "$here" || exit 1
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj '/CN=Test CA' 2>/dev/null
issue() {
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$2" 2>/dev/null
    printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$2" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.pem" 2>/dev/null
}
issue server mx.contoso.test
issue client relay.contoso.test
openssl pkcs12 -export -inkey client.key -in client.pem -certfile ca.pem -out client.pfx -passout pass:secret
echo secret >password
install -m 0644 ca.pem /etc/ssl/certs/test-ca.pem
install -m 0644 ca.pem server.pem server.key /etc/postfix/
echo '127.0.0.1 mx.contoso.test' >>/etc/hosts
useradd --create-home alice
cat >/etc/postfix/main.cf <<'C'
compatibility_level = 3.6
myhostname = mx.contoso.test
mydestination = contoso.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
home_mailbox = Maildir/
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = /etc/postfix/server.pem
smtpd_tls_key_file = /etc/postfix/server.key
smtpd_tls_CAfile = /etc/postfix/ca.pem
smtpd_tls_req_ccert = yes
smtpd_tls_received_header = yes
smtpd_relay_restrictions = permit_tls_all_clientcerts, reject
C
postconf -MX smtp/inet
postconf -M '2526/inet=2526 inet n - n - - smtpd'
postfix start >/dev/null 2>&1 || fail "Postfix does not start"

step install
dpkg --install "$old" || fail "the package is not installed"
systemctl is-enabled sealpost || fail "the unit is not enabled"
systemctl show --property ActiveState,Result,NRestarts sealpost
systemctl is-failed --quiet sealpost && fail "the unit fails before it is set up"
journalctl --no-pager --output cat --unit sealpost | grep 'not set up' || fail "nothing says that it is not set up"
man_page=/usr/share/man/man1/sealpost-certificate-import.1.gz
for file in $man_page /usr/share/bash-completion/completions/sealpost /usr/share/doc/sealpost/copyright; do
    test -s "$file" || fail "$file is missing"
done

step set up
cat >>/etc/sealpost/sealpost.toml <<'C'
[lan]
allow = ["127.0.0.0/8"]
[senders]
accepted_domains = ["contoso.test"]
[upstream.connector]
host = "mx.contoso.test"
port = 2526
ca_file = "/etc/ssl/certs/test-ca.pem"
[spool]
size = "16MiB"
C
# The tables of the shipped file that are repeated above.
sed -i -e '0,/^\[lan\]/{/^\[lan\]/d}' -e '0,/^\[senders\]/{/^\[senders\]/d}' /etc/sealpost/sealpost.toml
cd /etc/sealpost || exit 1
sealpost config check sealpost.toml || fail "the settings are wrong"
ls -l /dev/tpmrm0
sealpost certificate import --pfx "$here/client.pfx" --password-file "$here/password" || fail "the certificate is not imported"
systemctl start sealpost || fail "the unit does not start"
await listening
systemctl show --property ActiveState,MainPID,User sealpost
stat --format '%U %a %n' $state $state/* /run/sealpost /run/sealpost/*

step relay
send relayed
await delivered relayed
grep -rh -A4 '^Received:' /home/alice/Maildir/new | head -12
sealpost tpm || fail "no TPM"
sealpost journal | tail -3

step security
systemd-analyze security --no-pager sealpost | tail -1
systemd-analyze security --no-pager --threshold=20 sealpost >/dev/null || fail "exposure of 2.0 or more"
# The programs that a person uses ask the running relay.
sealpost queue list || fail "no control socket"

step upgrade
postfix stop >/dev/null 2>&1
send queued
await sh -c 'sealpost queue list | grep -q alice@contoso.test'
before=$(systemctl show --property MainPID --value sealpost)
sum=$(sha256sum </etc/sealpost/sealpost.toml)
dpkg --install "$new" || fail "the upgrade is not installed"
await listening
after=$(systemctl show --property MainPID --value sealpost)
[ "$before" != "$after" ] || fail "the upgrade has not restarted the relay"
[ "$sum" = "$(sha256sum </etc/sealpost/sealpost.toml)" ] || fail "the upgrade changed the settings"
dpkg-query --show sealpost
sealpost queue list
postfix start >/dev/null 2>&1
sealpost queue retry >/dev/null
await delivered queued
echo "restarted: $before $after; the queued message is delivered"
[ "$(systemctl show --property NRestarts --value sealpost)" = 0 ] || fail "the relay has crashed"

step remove
dpkg --remove sealpost || fail "not removed"
systemctl is-active sealpost && fail "the relay still runs"
test -s $state/box.state || fail "the removal lost the state"
test -s /etc/sealpost/sealpost.toml || fail "the removal lost the settings"
ls -l $state /etc/sealpost

step reinstall
dpkg --install "$new" || fail "not installed again"
await listening
send again
await delivered again

step direct
# A site without a tenant, with its keys in quotes.
cat >/etc/sealpost/sealpost.toml <<'C'
lan = { allow = ["127.0.0.0/8"], hostname = "relay.contoso.test" }
senders = { "accepted_domains" = ["contoso.test"] }
upstream = { "method" = "direct" }
spool = { size = "16MiB" }
state = { path = "/var/lib/sealpost/box.state" }
control = { socket = "/run/sealpost/control.sock" }
C
sealpost config check sealpost.toml || fail "the settings for direct delivery are wrong"
systemctl restart sealpost || fail "the unit does not restart"
[ "$(systemctl show --property ActiveState --value sealpost)" = active ] || fail "direct delivery is skipped"
await listening
# No name server replies, so the message waits.
send direct
await sh -c 'sealpost queue list | grep -q alice@contoso.test'

step purge
dpkg --purge sealpost || fail "not purged"
ls -d $state /etc/sealpost 2>&1
for left in $state /etc/sealpost /etc/systemd/system/multi-user.target.wants/sealpost.service; do
    test ! -e "$left" || fail "the purge left $left"
done
step finished

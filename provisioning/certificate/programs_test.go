//go:build !quick && !race

package certificate

import (
	"encoding/asn1"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tools is a folder in which openssl and certtool work.
type tools struct {
	*testing.T
	dir string
}

// run runs a command line in the folder.
func (w tools) run(line string) {
	w.Helper()
	args := strings.Fields(line)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = w.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("%s: %v\n%s", line, err, out)
	}
}

func (w tools) read(name string) []byte {
	w.Helper()
	return must(os.ReadFile(filepath.Join(w.dir, name)))
}

func (w tools) write(name string, data []byte) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), data, 0o600); err != nil {
		w.Fatal(err)
	}
}

// join concatenates files.
func (w tools) join(to string, from ...string) {
	w.Helper()
	var all []byte
	for _, name := range from {
		all = append(all, w.read(name)...)
	}
	w.write(to, all)
}

const (
	asCA    = "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign"
	newRoot = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 30"
)

// tree makes a root, an intermediate and a leaf, each NAME.pem with NAME.key, and
// chain.pem of all three.
func tree(t *testing.T) tools {
	t.Helper()
	for _, program := range []string{"openssl", "certtool", "pk12util"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is missing (Debian: openssl, gnutls-bin, libnss3-tools): %v", program, err)
		}
	}
	w := tools{t, t.TempDir()}
	w.write("ca.ext", []byte("basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n"))
	w.write("leaf.ext", []byte("subjectAltName=DNS:relay.contoso.com\n"))
	w.run(newRoot + " -subj /CN=Root -keyout root.key -out root.pem " + asCA)
	w.issue("middle", "root", "ca.ext", "-set_serial 2")
	w.issue("leaf", "middle", "leaf.ext", "-set_serial 3")
	w.joined()
	return w
}

// issue makes the certificate NAME.pem of an authority, and its key unless there
// is one.
func (w tools) issue(name, by, extensions, options string) {
	w.Helper()
	if _, err := os.Stat(filepath.Join(w.dir, name+".key")); err != nil {
		w.run("openssl ecparam -name prime256v1 -genkey -noout -out " + name + ".key")
	}
	w.run("openssl req -new -key " + name + ".key -subj /CN=" + name + " -out " + name + ".csr")
	w.run("openssl x509 -req -days 30 -in " + name + ".csr -CA " + by + ".pem -CAkey " + by + ".key -extfile " + extensions + " -out " + name + ".pem " + options)
}

const export = "openssl pkcs12 -export -in all.pem -out out.pfx -passout pass:sealpost "

// pfx exports all.pem.
func (w tools) pfx(options string) []byte {
	w.Helper()
	w.run(export + options)
	return w.read("out.pfx")
}

// converted runs the commands in [convert], with the passwords that a person types.
func (w tools) converted(data []byte) []byte {
	w.Helper()
	w.write("OLD.pfx", data)
	if !strings.HasSuffix(convert, "openssl pkcs12 -legacy -in OLD.pfx -out all.pem, then openssl pkcs12 -export -in all.pem -out NEW.pfx") {
		w.Fatalf("got another cure than the commands that this test runs: %s", convert)
	}
	w.run("openssl pkcs12 -legacy -in OLD.pfx -out all.pem -passin pass:sealpost -passout pass:sealpost")
	w.run("openssl pkcs12 -export -in all.pem -out NEW.pfx -passin pass:sealpost -passout pass:sealpost")
	return w.read("NEW.pfx")
}

// newKey gets the certificate for a key of another type.
func (w tools) newKey(kind string) {
	w.Helper()
	w.run("openssl genpkey -out leaf.key " + kind)
	w.issue("leaf", "middle", "leaf.ext", "-set_serial 4")
	w.joined()
}

// joined writes chain.pem and all.pem, and exports that.
func (w tools) joined() []byte {
	w.Helper()
	w.join("chain.pem", "leaf.pem", "middle.pem", "root.pem")
	w.join("all.pem", "leaf.key", "chain.pem")
	return w.pfx("")
}

// ber writes the outermost SEQUENCE of a DER value with an indefinite length.
func ber(data []byte) []byte {
	var outer asn1.RawValue
	must(asn1.Unmarshal(data, &outer))
	return append(append([]byte{0x30, 0x80}, outer.Bytes...), 0, 0)
}

func (w tools) certtool(options string) []byte {
	w.Helper()
	w.run("certtool --to-p12 --load-certificate chain.pem --load-privkey leaf.key --p12-name relay --password sealpost --outder --outfile tool.pfx " + options)
	return w.read("tool.pfx")
}

// nss imports the PFX into a store like that of Firefox, and exports it from there.
func (w tools) nss() []byte {
	w.Helper()
	w.pfx("-name relay")
	if err := os.Mkdir(filepath.Join(w.dir, "db"), 0o700); err != nil {
		w.Fatal(err)
	}
	w.run("certutil -N -d sql:db --empty-password")
	w.run("pk12util -i out.pfx -d sql:db -W sealpost")
	w.run("pk12util -o nss.pfx -n relay -d sql:db -W sealpost")
	return w.read("nss.pfx")
}

// foreign writes a PFX whose key does not belong to its certificate.
func (w tools) foreign() []byte {
	w.Helper()
	w.run("certtool --to-p12 --load-certificate leaf.pem --load-privkey middle.key --p12-name relay --password sealpost --outder --outfile foreign.pfx")
	return w.read("foreign.pfx")
}

// The files that programs write with these options are all valid.
func TestParsePFX_ReadsWhatProgramsWrite(t *testing.T) {
	w := tree(t)
	check := func(name string, data []byte) {
		if err := accept(w, name, data, password); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, cipher := range []string{"3des-pkcs12", "aes-256", "rc2-40"} {
		check("certtool "+cipher, w.certtool("--pkcs-cipher "+cipher))
	}
	w.run("certtool --to-p12 --load-certificate chain.pem --load-privkey leaf.key --p12-name relay --password sealpost --outfile pem.p12")
	check("certtool in PEM", w.read("pem.p12"))
	check("certtool with an authority", w.certtool("--load-ca-certificate root.pem"))
	w.run("openssl req -x509 -key root.key -days 30 -subj /CN=Other -out other.pem -set_serial -1 " + asCA)
	for _, options := range []string{
		"", "-LMK -name relay -CSP x", "-certpbe NONE -keypbe NONE", "-keypbe NONE", "-certpbe NONE",
		"-legacy -descert", "-legacy -certpbe PBE-SHA1-RC2-128 -keypbe PBE-SHA1-3DES", "-macalg sha512 -certpbe AES-192-CBC",
	} {
		check("openssl "+options, w.pfx(options))
		check("openssl with an odd certificate "+options, w.pfx(options+" -certfile other.pem"))
	}
}

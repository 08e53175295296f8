//go:build !quick && !race

package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// oddSerial gives a certificate a serial number that crypto/x509 rejects.
const oddSerial = "-set_serial -1"

const keyAdvice = "get a certificate for an RSA-2048"

// refusals are the ways in which a file can be rejected, each with the cure in its text,
// done by real programs.
var refusals = []struct {
	name     string
	password string // sealpost if empty
	bad      func(w tools) []byte
	want     string // part of the cure's text
	good     func(w tools, bad []byte) []byte
}{
	{"empty", "", func(tools) []byte { return nil }, "copy it again", fresh},
	{"too large", "", func(w tools) []byte {
		w.join("all.pem", append([]string{"all.pem"}, strings.Fields(strings.Repeat("root.pem ", 3000))...)...)
		return w.pfx("")
	}, "export only the certificate for the box and its chain", fresh},
	{"PEM", "", func(w tools) []byte { return w.read("all.pem") }, "export certificate and private key together as PKCS #12", fresh},
	{"BER", "", func(w tools) []byte { return ber(w.pfx("")) }, convert, tools.converted},
	{"BER of NSS", "", tools.nss, convert, tools.converted},
	{"certificate", "", func(w tools) []byte {
		w.run("openssl x509 -in leaf.pem -outform DER -out leaf.cer")
		return w.read("leaf.cer")
	}, "with the private key", fresh},
	{"no PFX", "", func(w tools) []byte {
		w.run("openssl pkcs8 -topk8 -nocrypt -in leaf.key -outform DER -out leaf.p8")
		return w.read("leaf.p8")
	}, "choose the file that was exported with its private key", fresh},
	{"another structure", "", func(tools) []byte { return []byte("noise, and more noise") }, "choose the file", fresh},
	{"truncated", "", func(w tools) []byte { return w.pfx("")[:100] }, "copy it again", fresh},
	{"one byte", "", func(w tools) []byte { return w.pfx("")[:1] }, "copy it again", fresh},
	{"iterations", "", func(w tools) []byte { return w.pfx("-keypbe NONE -certpbe NONE -iter 10000001") }, "export it again with the default settings", fresh},
	{"iterations, converted", "", func(w tools) []byte { return w.pfx("-keypbe NONE -certpbe NONE -iter 10000001") }, convert, tools.converted},
	{"oversized key", "", func(w tools) []byte {
		data := w.pfx("")
		var outer asn1.RawValue
		must(asn1.Unmarshal(data, &outer))
		huge := must(asn1.Marshal(bytes.Repeat([]byte{0x55}, maxKeySize+1)))
		return must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: append(outer.Bytes, huge...)}))
	}, keyAdvice, rsa2048},
	{"password", "sEALPOST", func(w tools) []byte { return w.pfx("") }, "ask whoever exported it for the password", fresh},
	{"password beyond UCS-2", "🔑", func(w tools) []byte { return w.pfx("-passout pass:🔑") }, "a password of letters and digits", fresh},
	{"no key", "", func(w tools) []byte { return w.pfx("-nokeys") }, "export it again with the private key", fresh},
	{"two keys", "", func(tools) []byte { return must(os.ReadFile(filepath.Join("testdata", "java17-two-keys.pfx"))) }, "export only the certificate for the box", fresh},
	{"no certificate", "", func(w tools) []byte { return w.pfx("-nocerts -inkey leaf.key") }, "export the certificate together with its key", fresh},
	{"no MAC", "", func(w tools) []byte { return w.pfx("-nomac") }, "export it again with a password and without the option -nomac", fresh},
	{"MAC by SHA-384", "", func(w tools) []byte { return w.pfx("-macalg sha384") }, convert, tools.converted},
	{"Camellia", "", func(w tools) []byte { return w.pfx("-certpbe CAMELLIA-256-CBC -keypbe CAMELLIA-256-CBC") }, "AES256-SHA256", func(w tools, _ []byte) []byte {
		return w.pfx("-certpbe AES-256-CBC -keypbe AES-256-CBC -macalg sha256")
	}},
	{"Camellia, as TripleDES-SHA1", "", func(w tools) []byte { return w.pfx("-certpbe CAMELLIA-256-CBC -keypbe CAMELLIA-256-CBC") }, "TripleDES-SHA1", func(w tools, _ []byte) []byte {
		return w.pfx("-legacy -certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1")
	}},
	{"3DES in PBES2 of certtool", "", func(w tools) []byte { return w.certtool("--pkcs-cipher 3des") }, convert, tools.converted},
	{"RC4 of certtool", "", func(w tools) []byte { return w.certtool("--pkcs-cipher arcfour") }, convert, tools.converted},
	{"bytes after its end", "", func(w tools) []byte { return append(w.pfx(""), '\n') }, "copy it again", fresh},
	{"bytes after its end, converted", "", func(w tools) []byte { return append(w.pfx(""), '\n') }, convert, tools.converted},
	{"unknown key type", "", func(w tools) []byte { w.newKey("-algorithm ED448"); return w.pfx("") }, keyAdvice, rsa2048},
	{"type of the key", "", func(w tools) []byte { w.newKey("-algorithm ED25519"); return w.pfx("") }, keyAdvice, rsa2048},
	{"small key", "", func(w tools) []byte { w.newKey("-algorithm RSA -pkeyopt rsa_keygen_bits:1024"); return w.pfx("") }, keyAdvice, rsa2048},
	{"curve", "", func(w tools) []byte { w.newKey("-algorithm EC -pkeyopt ec_paramgen_curve:P-521"); return w.pfx("") }, keyAdvice, rsa2048},
	{"unknown curve", "", func(w tools) []byte {
		w.newKey("-algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1")
		return w.pfx("")
	}, keyAdvice, rsa2048},
	{"another key", "", tools.foreign, "export certificate and key together", fresh},
	{"leaf with an odd serial", "", func(w tools) []byte {
		w.issue("leaf", "middle", "leaf.ext", oddSerial)
		return w.joined()
	}, "ask the certification authority to issue it again", func(w tools, _ []byte) []byte {
		w.issue("leaf", "middle", "leaf.ext", "-set_serial 5")
		return w.joined()
	}},
	{"intermediate with an odd serial", "", func(w tools) []byte {
		w.issue("middle", "root", "ca.ext", oddSerial)
		return w.joined()
	}, "ask the certification authority to issue it again", func(w tools, _ []byte) []byte {
		w.issue("middle", "root", "ca.ext", "-set_serial 5")
		return w.joined()
	}},
	{"private root with an odd serial", "", func(w tools) []byte {
		w.run("openssl req -x509 -key root.key -days 30 -subj /CN=Root -out root.pem -set_serial -1 " + asCA)
		return w.joined()
	}, "ask the certification authority to issue it again", func(w tools, _ []byte) []byte {
		w.run("openssl req -x509 -key root.key -days 30 -subj /CN=Root -out root.pem " + asCA)
		return w.joined()
	}},
	{"incomplete chain", "", func(w tools) []byte {
		w.join("all.pem", "leaf.key", "leaf.pem", "root.pem")
		return w.pfx("")
	}, "export again with all certificates in the certification path", func(w tools, _ []byte) []byte {
		return w.pfx("-certfile middle.pem")
	}},
	{"expired intermediate", "", func(w tools) []byte {
		w.run("openssl x509 -req -days -1 -in middle.csr -CA root.pem -CAkey root.key -set_serial 6 -extfile ca.ext -out middle.pem")
		return w.joined()
	}, "with its present chain", func(w tools, _ []byte) []byte {
		w.issue("middle", "root", "ca.ext", "-set_serial 7")
		return w.joined()
	}},
	{"signed with SHA-1", "", func(w tools) []byte {
		w.issue("leaf", "middle", "leaf.ext", "-sha1 -set_serial 5")
		return w.joined()
	}, "issue it again with SHA-256", func(w tools, _ []byte) []byte {
		w.issue("leaf", "middle", "leaf.ext", "-sha256 -set_serial 5")
		return w.joined()
	}},
	{"issuer is no authority", "", func(w tools) []byte {
		w.write("no-ca.ext", []byte("basicConstraints=CA:FALSE\n"))
		w.issue("middle", "root", "no-ca.ext", "-set_serial 5")
		return w.joined()
	}, "get a certificate from a certification authority", fresh},
	{"PEM too large", "", func(w tools) []byte { return bytes.Repeat(w.read("chain.pem"), 1000) }, "only the certificate for the box and its chain", freshPEM},
	{"PEM broken", "", func(tools) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})
	}, "get it again from the certification authority", freshPEM},
	{"PEM in DER", "", func(w tools) []byte {
		w.run("openssl x509 -in leaf.pem -outform DER -out leaf.cer")
		return w.read("leaf.cer")
	}, "openssl x509 -inform DER for a certificate", func(w tools, _ []byte) []byte {
		w.run("openssl x509 -inform DER -in leaf.cer -out leaf.pem")
		w.joined()
		return w.read("chain.pem")
	}},
	{"PEM of PKCS #7", "", func(w tools) []byte {
		w.run("openssl crl2pkcs7 -nocrl -certfile chain.pem -out chain.p7b")
		return w.read("chain.p7b")
	}, "openssl pkcs7 -print_certs -in OLD.p7b -out NEW.pem", func(w tools, bad []byte) []byte {
		w.write("OLD.p7b", bad)
		w.run("openssl pkcs7 -print_certs -in OLD.p7b -out NEW.pem")
		return w.read("NEW.pem")
	}},
	{"PEM trusted", "", func(w tools) []byte {
		w.run("openssl x509 -in leaf.pem -trustout -out trusted.pem")
		return w.read("trusted.pem")
	}, "ask the certification authority for Base-64 (PEM) with the whole chain", freshPEM},
	{"PEM in p7b", "", func(w tools) []byte {
		w.run("openssl crl2pkcs7 -nocrl -certfile chain.pem -outform DER -out chain.p7b")
		return w.read("chain.p7b")
	}, "openssl pkcs7 -inform DER -print_certs for a .p7b", func(w tools, _ []byte) []byte {
		w.run("openssl pkcs7 -inform DER -print_certs -in chain.p7b -out chain.pem")
		return w.read("chain.pem")
	}},
	{"PEM for another key", "", func(w tools) []byte { return w.read("root.pem") }, "import the certificate that was issued for the box's own request", freshPEM},
}

// fresh exports the certificate with its chain and its key.
func fresh(w tools, _ []byte) []byte {
	clean := tree(w.T)
	return clean.pfx("")
}

// freshPEM is the chain as the authority issued it for the key.
func freshPEM(w tools, _ []byte) []byte {
	return bytes.Join([][]byte{w.read("leaf.pem"), w.read("middle.pem"), w.read("root.pem")}, nil)
}

// rsa2048 gets a certificate for a key of a type that the box can use.
func rsa2048(w tools, _ []byte) []byte {
	w.newKey("-algorithm RSA -pkeyopt rsa_keygen_bits:2048")
	return w.pfx("")
}

// accept reads a file, as PEM for the name of the case, and verifies its chain.
func accept(w tools, name string, data []byte, password string) error {
	var path Path
	if strings.HasPrefix(name, "PEM ") {
		found, err := ParsePEM(data)
		if err != nil {
			return err
		}
		block, _ := pem.Decode(w.read("leaf.key"))
		if path, err = found.Order(must(x509.ParseECPrivateKey(block.Bytes)).Public()); err != nil {
			return err
		}
	} else {
		b, err := ParsePFX(data, password)
		if err != nil {
			return err
		}
		path = b.Path
	}
	return path.Verify(time.Now(), nil)
}

func TestRefusal_NamesACureThatHelps(t *testing.T) {
	all := refusalTexts(t)
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			w := tree(t)
			bad := c.bad(w)
			wrong := password
			if c.password != "" {
				wrong = c.password
			}
			err := accept(w, c.name, bad, wrong)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got  %v\nwant %s", err, c.want)
			}
			for text := range all {
				if strings.Contains(err.Error(), text) {
					all[text] = true
				}
			}
			if err := accept(w, c.name, c.good(w, bad), password); err != nil {
				t.Errorf("the cure %q does not help: %v", c.want, err)
			}
		})
	}
	for text, covered := range all {
		if !covered {
			t.Errorf("no case meets %q", text)
		}
	}
}

// refusalTexts returns the text of each error with which a file can be rejected, up to
// its first value.
func refusalTexts(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, name := range []string{"certificates.go", "chain.go", "der.go", "key.go", "pfx.go", "safes.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			function, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || function.Sel.Name != "Errorf" && function.Sel.Name != "New" || len(call.Args) == 0 {
				return true
			}
			literal := call.Args[0]
			for sum, ok := literal.(*ast.BinaryExpr); ok; sum, ok = literal.(*ast.BinaryExpr) {
				literal = sum.X
			}
			if text, ok := literal.(*ast.BasicLit); ok && text.Kind == token.STRING {
				prefix, _, _ := strings.Cut(must(strconv.Unquote(text.Value)), "%")
				if prefix != "" && !notOfFiles[prefix] {
					found[prefix] = true
				}
			}
			return true
		})
	}
	return found
}

// notOfFiles are the error texts that are not about a file.
var notOfFiles = map[string]bool{
	"a request needs at least one name, such as relay.contoso.com": true, // a name that was typed
	"signing the certificate request: ":                            true, // a fault of the TPM
	"the key is of a type the box cannot use: ":                    true, // KeyType is called before
	"deriving a key for one safe: ":                                true, // a fault of the program
}

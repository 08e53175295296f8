package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

const password = "sealpost"

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// signs reports whether cert verifies the signatures of key.
func signs(t *testing.T, key crypto.Signer, cert *x509.Certificate) bool {
	t.Helper()
	digest := bytes.Repeat([]byte{7}, 32)
	signature, err := key.Sign(rand.Reader, digest, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	switch pub := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest, signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(pub, digest, signature)
	}
	return false
}

func checkBundle(t *testing.T, b Bundle, leaf string) {
	t.Helper()
	var names []string
	for _, cert := range b.Chain {
		names = append(names, cert.Subject.CommonName)
	}
	want := []string{leaf, "Example Issuing CA", "Example Policy CA"}
	if fmt.Sprint(names) != fmt.Sprint(want) || len(b.Extra) != 0 || b.Leaf != b.Chain[0] {
		t.Errorf("got chain %v, %d extra, want %v and 0", names, len(b.Extra), want)
	}
	if !signs(t, b.Key, b.Leaf) {
		t.Error("got a key that is not the leaf's")
	}
}

func TestParsePFX_OpensFilesOfCommonTools(t *testing.T) {
	for name, leaf := range map[string]string{
		"openssl-default":                    "relay.contoso.com",
		"openssl-legacy":                     "relay.contoso.com",
		"openssl-legacy-nomaciter":           "relay.contoso.com",
		"openssl-3des-windows-like":          "relay.contoso.com",
		"openssl-aes256-sha256-windows-like": "*.contoso.com",
		"openssl-aes128-sha512":              "*.contoso.com",
		"openssl-plain-certificates":         "*.contoso.com",
		"openssl-plain-key":                  "*.contoso.com",
		"java17":                             "relay.contoso.com",
		"java17-legacy":                      "relay.contoso.com",
	} {
		t.Run(name, func(t *testing.T) {
			data := fixture(t, name+".pfx")
			b, err := ParsePFX(data, password)
			if err != nil {
				t.Fatal(err)
			}
			checkBundle(t, b, leaf)
			for _, wrong := range []string{"", "Sealpost", "sealpost "} {
				if _, err := ParsePFX(data, wrong); !errors.Is(err, ErrPassword) {
					t.Errorf("password %q: got %v, want %v", wrong, err, ErrPassword)
				}
			}
		})
	}
}

func TestParsePFX_OpensFilesWithEmptyAndOtherPasswords(t *testing.T) {
	source := must(ParsePFX(fixture(t, "openssl-default.pfx"), password))
	for name, encoder := range map[string]*pkcs12.Encoder{
		"RC2": pkcs12.LegacyRC2, "DES": pkcs12.LegacyDES, "2023": pkcs12.Modern2023, "2026": pkcs12.Modern2026,
	} {
		for _, password := range []string{"", "sealpost", "Pässwörd €"} {
			t.Run(name+"/"+password, func(t *testing.T) {
				data := must(encoder.Encode(source.Key, source.Chain[2], []*x509.Certificate{source.Leaf, source.Chain[1]}, password))
				b, err := ParsePFX(data, password)
				if err != nil {
					t.Fatal(err)
				}
				checkBundle(t, b, "relay.contoso.com")
			})
		}
	}
	data := must(pkcs12.Passwordless.Encode(source.Key, source.Leaf, source.Chain[1:], ""))
	checkBundle(t, must(ParsePFX(data, "")), "relay.contoso.com")
	checkBundle(t, must(ParsePFX(fixture(t, "openssl-empty-password.pfx"), "")), "*.contoso.com")
}

func selfSigned(t *testing.T, name string, key crypto.Signer, lifetime time.Duration) *x509.Certificate {
	t.Helper()
	return issue(t, &x509.Certificate{DNSNames: []string{name}, NotAfter: day.Add(lifetime)}, name, key.Public(), nil, key)
}

func TestParsePFX_ExplainsWhatIsWrong(t *testing.T) {
	good := fixture(t, "openssl-default.pfx")
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	encode := func(key crypto.Signer) []byte {
		return must(pkcs12.Modern.Encode(key, selfSigned(t, "a.example", key, time.Hour), nil, password))
	}
	nestedBER := bytes.Clone(good)
	nestedBER[bytes.Index(nestedBER[4:], []byte{0x30, 0x82})+5] = 0x80
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"no key", fixture(t, "openssl-no-key.pfx"), "contains certificates but no private key: export it again with the private key"},
		{"trust store", fixture(t, "java17-trust-store.pfx"), "contains certificates but no private key"},
		{"two keys", fixture(t, "java17-two-keys.pfx"), "more than one private key: export only the certificate"},
		{"no MAC", fixture(t, "openssl-no-mac.pfx"), "no integrity check: export it again"},
		{"strange MAC", fixture(t, "openssl-sha384-mac.pfx"), "uses something the box cannot read"},
		{"empty", nil, "is empty: copy it again"},
		{"noise", bytes.Repeat([]byte("noise"), 1000), "not a PFX: choose the file"},
		{"much noise", make([]byte, 20<<20), "larger than 1024 KiB"},
		{"PEM", fixture(t, "chain.pem"), "PEM text and not a PFX"},
		{"certificate", must(ParsePEM(fixture(t, "chain.pem"))).Parsed[0].Raw, "a certificate without a private key"},
		{"key", must(x509.MarshalPKCS8PrivateKey(p256)), "not a PFX"},
		{"BER", append([]byte{0x30, 0x80}, good...), "BER-encoded, which the box cannot read: import it on a Windows machine"},
		{"BER within", nestedBER, "BER-encoded"},
		{"one byte", []byte{0x30}, "truncated after 1 bytes"},
		{"half", good[:len(good)/2], fmt.Sprintf("truncated, %d of %d bytes: copy it again", len(good)/2, len(good))},
		{"more than the whole", append(bytes.Clone(good), '\n'), "damaged or unusual"},
		{"foreign key", must(pkcs12.Modern.Encode(other, selfSigned(t, "a.example", p256, time.Hour), nil, password)), "no certificate in the file belongs to the private key"},
		{"P-521", encode(must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))), "on the curve P-521, which the box cannot use: get a certificate for an RSA-2048"},
		{"RSA-1024", encode(must(rsa.GenerateKey(rand.Reader, 1024))), "RSA-1024, which the box cannot use"},
		{"Ed25519", encode(must2(ed25519.GenerateKey(rand.Reader))), "of the type ed25519, which the box cannot use"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParsePFX(c.data, password)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), password+"\"") {
				t.Error("got the password in the error")
			}
		})
	}
	if _, err := ParsePFX(good, "🔑"); !errors.Is(err, errCharacters) {
		t.Errorf("password beyond UCS-2: got %v, want %v", err, errCharacters)
	}
}

func must2(_ ed25519.PublicKey, key ed25519.PrivateKey, err error) ed25519.PrivateKey {
	return must(key, err)
}

func TestParsePFX_RejectsTruncatedFiles(t *testing.T) {
	for _, name := range []string{"openssl-legacy.pfx", "java17.pfx"} {
		data := fixture(t, name)
		for n := 0; n < len(data); n += 100 {
			if _, err := ParsePFX(data[:n], password); err == nil || !strings.Contains(err.Error(), "copy it again") {
				t.Errorf("%s cut to %d: got %v, want an error with %q", name, n, err, "copy it again")
			}
		}
	}
}

func TestParsePFX_RejectsExpensiveFilesAtOnce(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	cert := selfSigned(t, "a.example", key, time.Hour)
	for name, encoder := range map[string]*pkcs12.Encoder{
		"RC2": pkcs12.LegacyRC2, "DES": pkcs12.LegacyDES, "2023": pkcs12.Modern2023, "2026": pkcs12.Modern2026,
	} {
		// A number that occurs nowhere else in the file, so that every iteration count can be
		// found.
		const odd, many = 0x010203, 0x7f0203
		hostile := must(encoder.WithIterations(odd).Encode(key, cert, nil, password))
		found := int64(0)
		for at := range hostile {
			if bytes.HasPrefix(hostile[at:], []byte{asn1.TagInteger, 3, 0x01, 0x02, 0x03}) {
				hostile[at+2] = 0x7f
				found++
				if got, want := costOf(hostile).iterations.Int64(), found*many+(3-found)*odd; got != want {
					t.Errorf("%s: got %d iterations, want %d", name, got, want)
				}
			}
		}
		if found != 3 {
			t.Errorf("%s: got %d iteration counts, want 3: those of MAC, certificates and key", name, found)
		}
		if _, err := ParsePFX(hostile, password); !errors.Is(err, errIterations) {
			t.Errorf("%s: got %v, want %v", name, err, errIterations)
		}
	}
}

func TestParsePFX_RejectsOversizedKeys(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	data := must(pkcs12.Passwordless.Encode(key, selfSigned(t, "a.example", key, time.Hour), nil, ""))
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(data, &outer); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []int{asn1.TagInteger, asn1.TagOctetString} {
		huge := must(asn1.Marshal(asn1.RawValue{Tag: tag, Bytes: bytes.Repeat([]byte{0x55}, maxKeySize+1)}))
		hostile := must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: append(outer.Bytes, huge...)}))
		if _, err := ParsePFX(hostile, ""); !errors.Is(err, errKeySize) {
			t.Errorf("tag %d: got %v, want %v", tag, err, errKeySize)
		}
	}
}

func costOf(data []byte) *cost {
	var c cost
	c.add(data, 0)
	return &c
}

func TestBundle_PrintsWithoutItsKey(t *testing.T) {
	b := must(ParsePFX(fixture(t, "openssl-default.pfx"), password))
	d := b.Key.(*rsa.PrivateKey).D
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("opened", "bundle", b)
	for _, printed := range []string{fmt.Sprintf("%v %+v %#v %s", b, b, b, b), fmt.Sprintf("%v", &b), log.String()} {
		if strings.Contains(printed, d.String()[:20]) || strings.Contains(printed, d.Text(16)[:20]) {
			t.Error("got the key in the printed text")
		}
		if !strings.Contains(printed, "relay.contoso.com") {
			t.Errorf("got %s, want the name in it", printed)
		}
	}
}

func TestWipeKey_ErasesThePrivateNumbers(t *testing.T) {
	for _, name := range []string{"openssl-default.pfx", "openssl-aes128-sha512.pfx"} {
		key := must(ParsePFX(fixture(t, name), password)).Key
		var numbers []*big.Int
		switch k := key.(type) {
		case *rsa.PrivateKey:
			numbers = append([]*big.Int{k.D, k.Precomputed.Dp, k.Precomputed.Dq, k.Precomputed.Qinv}, k.Primes...)
		case *ecdsa.PrivateKey:
			//lint:ignore SA1019 the number itself must be overwritten
			numbers = append(numbers, k.D)
		}
		var words [][]big.Word
		for _, n := range numbers {
			if n.Sign() == 0 {
				t.Fatalf("%s: nothing to wipe", name)
			}
			words = append(words, n.Bits())
		}
		WipeKey(key)
		for i, n := range numbers {
			if n.Sign() != 0 {
				t.Errorf("%s: got number %d unchanged, want 0", name, i)
			}
			for _, word := range words[i] {
				if word != 0 {
					t.Errorf("%s: got number %d still in memory, want it wiped", name, i)
				}
			}
		}
	}
}

func FuzzParsePFX(f *testing.F) {
	files, err := filepath.Glob("testdata/*.pfx")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		f.Add(must(os.ReadFile(file)))
	}
	// Without a MAC the fuzzer reaches code that otherwise needs the password.
	source := must(ParsePFX(fixture(f, "openssl-aes128-sha512.pfx"), password))
	f.Add(must(pkcs12.Passwordless.Encode(source.Key, source.Leaf, source.Chain[1:], "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		// The allowed number of iterations would take too long for a fuzzer.
		if checkPFX(data) == nil && costOf(data).iterations.Cmp(big.NewInt(100_000)) > 0 {
			return
		}
		for _, password := range []string{password, ""} {
			b, err := ParsePFX(data, password)
			if err != nil {
				if !strings.Contains(err.Error(), ": ") {
					t.Fatalf("got no cure in %q", err)
				}
				continue
			}
			if len(b.Chain) == 0 || b.Leaf != b.Chain[0] || b.Key == nil {
				t.Fatalf("got %v", b)
			}
			if _, err := KeyType(b.Key.Public()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

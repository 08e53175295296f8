package bundle

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"sealpost/provisioning/certificate"
)

const (
	serial   = "10000000abcdef12"
	password = "correct horse"
	good     = "[senders]\naccepted_domains = [\"contoso.com\"]\n"
)

// pfx returns a PFX with the password.
func pfx(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay.contoso.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	data, err := pkcs12.Modern.Encode(key, leaf, nil, password)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func content(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func acceptAnyPath(certificate.Path) error { return nil }

// all returns all faults of a stick.
func all(stick fs.FS) error {
	b, err := Read(stick, serial)
	return errors.Join(err, b.Check(acceptAnyPath))
}

func TestRead_FindsFilesUnderCommonNames(t *testing.T) {
	key := pfx(t)
	for name, stick := range map[string]fstest.MapFS{
		"common": {"sealpost/sealpost.toml": content(good), "sealpost/contoso.pfx": {Data: key}, "sealpost/password.txt": content(password)},
		"in capitals, with Windows' line ends": {"sealpost/SEALPOST.TOML": content(good), "sealpost/CONTOSO.P12": {Data: key},
			"sealpost/Password.txt": content("\ufeff" + password + "\r\n")},
		"beside what macOS leaves": {"sealpost/sealpost.toml": content(good), "sealpost/contoso.pfx": {Data: key}, "sealpost/password.txt": content(password + "\nnot this"),
			"sealpost/._contoso.pfx": content("x"), "sealpost/.DS_Store": content("x"), "sealpost/result.txt": content("x"), "sealpost/setup.exe": content("x")},
		"of this box": {"sealpost/1000-0000-ABCD-EF12/sealpost.toml": content(good), "sealpost/1000-0000-ABCD-EF12/a.pfx": {Data: key},
			"sealpost/1000-0000-ABCD-EF12/password.txt": content(password), "sealpost/sealpost.toml": content("not this"), "sealpost/other/a.pfx": content("nor this")},
		"of this box, with colons": {"sealpost/10:00:00:00:ab:cd:ef:12/sealpost.toml": content(good), "sealpost/10:00:00:00:ab:cd:ef:12/a.pfx": {Data: key},
			"sealpost/10:00:00:00:ab:cd:ef:12/password.txt": content(password)},
		"common, beside other boxes": {"sealpost/sealpost.toml": content(good), "sealpost/contoso.pfx": {Data: key}, "sealpost/password.txt": content(password),
			"sealpost/20000000abcdef12/sealpost.toml": content("not this")},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Read(stick, serial)
			if err := errors.Join(err, b.Check(acceptAnyPath)); err != nil {
				t.Fatal(err)
			}
			if b.Settings != good || string(b.PFX) != string(key) || b.Password != password || b.Trial || b.PEM != nil {
				t.Errorf("got %v with settings %q from %v", b.Candidate, b.Settings, b.Files())
			}
			if len(b.Files()) != 3 {
				t.Errorf("got files %v, want 3", b.Files())
			}
		})
	}
}

func TestBundle_NamesTheFileAndCureOfEachFault(t *testing.T) {
	key := pfx(t)
	large := &fstest.MapFile{Data: make([]byte, certificate.MaxInput+1)}
	manyFiles := fstest.MapFS{"sealpost/sealpost.toml": content(good)}
	for i := range 10_000 {
		manyFiles[fmt.Sprintf("sealpost/%d.pfx", i)] = content("x")
	}
	for name, c := range map[string]struct {
		stick fstest.MapFS
		texts []string
	}{
		"no folder":         {fstest.MapFS{"sealpost.toml": content(good)}, []string{"no folder named sealpost: create it"}},
		"a file as folder":  {fstest.MapFS{"sealpost": content(good)}, []string{"sealpost: this is not a folder: create"}},
		"an empty folder":   {fstest.MapFS{"sealpost/result.txt": content("x")}, []string{"neither sealpost.toml nor a .pfx: copy"}},
		"the hidden ending": {fstest.MapFS{"sealpost/sealpost.toml.txt": content(good)}, []string{"sealpost/sealpost.toml.txt", "remove .txt"}},
		"the same beside a PFX": {fstest.MapFS{"sealpost/sealpost.toml.txt": content(good), "sealpost/a.pfx": {Data: key}, "sealpost/password.txt": content("correct horse")},
			[]string{"sealpost/sealpost.toml.txt", "remove .txt"}},
		"only other boxes": {fstest.MapFS{"sealpost/aa/sealpost.toml": content(good), "sealpost/bb/sealpost.toml": content(good)}, []string{"(aa, bb)", "serial number"}},
		"two for this box": {fstest.MapFS{"sealpost/10000000abcdef12/sealpost.toml": content(good), "sealpost/10000000-ABCDEF12/sealpost.toml": content(good)},
			[]string{"sealpost/10000000-ABCDEF12, sealpost/10000000abcdef12", "delete all but one"}},
		"an empty file":                {fstest.MapFS{"sealpost/sealpost.toml": content("")}, []string{"sealpost/sealpost.toml: it is empty", "eject the stick"}},
		"a large file":                 {fstest.MapFS{"sealpost/a.pfx": large}, []string{"sealpost/a.pfx: it is larger than 1024 KiB", "replace it"}},
		"two PFX":                      {fstest.MapFS{"sealpost/a.pfx": {Data: key}, "sealpost/b.p12": {Data: key}}, []string{"sealpost/a.pfx, sealpost/b.p12: there are 2 PFX files: delete"}},
		"a PFX and a PEM":              {fstest.MapFS{"sealpost/a.pfx": {Data: key}, "sealpost/b.crt": content("x")}, []string{"sealpost/a.pfx, sealpost/b.crt", "delete one"}},
		"a link":                       {fstest.MapFS{"sealpost/a.pfx": {Data: []byte("/etc/passwd"), Mode: fs.ModeSymlink}}, []string{"sealpost/a.pfx: this is a link, not a file: copy"}},
		"a device":                     {fstest.MapFS{"sealpost/a.pfx": {Mode: fs.ModeDevice}}, []string{"sealpost/a.pfx: this is a special file, not a file: copy"}},
		"a folder":                     {fstest.MapFS{"sealpost/a.pfx/x": content("x")}, []string{"sealpost/a.pfx: this is a folder, not a file: copy"}},
		"10,000 files":                 {manyFiles, []string{"sealpost: the folder contains more than 1000 files: delete"}},
		"no password":                  {fstest.MapFS{"sealpost/a.pfx": {Data: key}}, []string{"sealpost/a.pfx: it has a password", "sealpost/password.txt", "serial console"}},
		"a wrong password":             {fstest.MapFS{"sealpost/a.pfx": {Data: key}, "sealpost/password.txt": content("Wrong")}, []string{"sealpost/password.txt: this password does not open sealpost/a.pfx", "serial console"}},
		"a password in UTF-16":         {fstest.MapFS{"sealpost/a.pfx": {Data: key}, "sealpost/password.txt": content("\xff\xfec\x00")}, []string{"sealpost/password.txt", "save it again as UTF-8"}},
		"no certificate":               {fstest.MapFS{"sealpost/a.pem": content("x")}, []string{"sealpost/a.pem: the file contains no PEM certificate: ask"}},
		"control characters in a name": {fstest.MapFS{"sealpost/\x1b[2J.pfx": content("x")}, []string{"sealpost/\ufffd[2J.pfx"}},
		"several at once": {fstest.MapFS{"sealpost/sealpost.toml": content("[senders]\naccepted = 1\n[lan]\nallow = 2\n"), "sealpost/a.pfx": content("x"), "sealpost/b.pem": content("x")},
			[]string{"sealpost/sealpost.toml: line 2: ", "sealpost/sealpost.toml: line 4: ", "sealpost/a.pfx, sealpost/b.pem"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := all(c.stick)
			if err == nil {
				t.Fatal("got no error")
			}
			for _, text := range c.texts {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q is missing in:\n%v", text, err)
				}
			}
			if strings.Contains(err.Error(), "Wrong") || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("got %q, want neither the password nor control characters", err)
			}
		})
	}
}

// counting is a stick whose .toml files have a given size; it records whether one is
// read.
type counting struct {
	fs.FS
	size int64
	read bool
}

type countedFile struct {
	fs.File
	stick *counting
}

type sized struct {
	fs.FileInfo
	size int64
}

func (s sized) Size() int64 { return s.size }

func (c *counting) Open(name string) (fs.File, error) {
	file, err := c.FS.Open(name)
	if err != nil || !strings.HasSuffix(name, ".toml") {
		return file, err
	}
	return countedFile{file, c}, nil
}

func (f countedFile) Stat() (fs.FileInfo, error) {
	info, err := f.File.Stat()
	return sized{info, f.stick.size}, err
}

func (f countedFile) Read(p []byte) (int, error) {
	f.stick.read = true
	return f.File.Read(p)
}

func TestRead_RefusesLargeFilesUnread(t *testing.T) {
	stick := &counting{FS: fstest.MapFS{"sealpost/sealpost.toml": content(good)}, size: 5 << 30}
	if err := all(stick); err == nil || !strings.Contains(err.Error(), "larger than 64 KiB") {
		t.Errorf("got %v, want an error with %q", err, "larger than 64 KiB")
	}
	if stick.read {
		t.Error("the file was read")
	}
}

func TestRead_FollowsNoSymbolicLinks(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside.toml")
	err := errors.Join(os.Mkdir(filepath.Join(dir, "sealpost"), 0o755), os.WriteFile(outside, []byte(good), 0o600),
		os.Symlink(outside, filepath.Join(dir, "sealpost", "sealpost.toml")))
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	b, err := Read(root.FS(), serial)
	if err == nil || !strings.Contains(err.Error(), "this is a link") || b.Settings != "" {
		t.Errorf("got settings %q, error %v, want none and that it is a link", b.Settings, err)
	}
}

func TestOrigin_DependsOnlyOnContents(t *testing.T) {
	origin := func(stick fstest.MapFS) string {
		b, err := Read(stick, serial)
		if err != nil {
			t.Fatal(err)
		}
		return b.Origin
	}
	plain := origin(fstest.MapFS{"sealpost/sealpost.toml": content(good)})
	if plain == "" || plain != origin(fstest.MapFS{"sealpost/" + serial + "/SEALPOST.TOML": content(good), "sealpost/result.txt": content("x")}) {
		t.Error("the same settings under another name have another origin")
	}
	if plain == origin(fstest.MapFS{"sealpost/sealpost.toml": content(good + "\n")}) {
		t.Error("other settings have the same origin")
	}
	if plain == origin(fstest.MapFS{"sealpost/sealpost.toml": content(good), "sealpost/a.pem": content("x")}) {
		t.Error("settings with a certificate have the same origin as without")
	}
}

func FuzzBundle(f *testing.F) {
	key := pfx(f)
	f.Add("sealpost.toml", good, "a.pfx", key, password)
	f.Add("10000000-abcd-ef12/sealpost.toml", "\xff\xfe", "10000000-abcd-ef12/a.pem", []byte("-----BEGIN CERTIFICATE-----"), "")
	f.Add("sealpost.toml.txt", "", "._a.pfx", []byte{}, "\ufeffx\r\n")
	f.Fuzz(func(t *testing.T, name, text, second string, data []byte, line string) {
		stick := fstest.MapFS{"sealpost/password.txt": content(line)}
		for name, data := range map[string][]byte{name: []byte(text), second: data} {
			if path := "sealpost/" + name; fs.ValidPath(path) {
				stick[path] = &fstest.MapFile{Data: data}
			}
		}
		b, err := Read(stick, serial)
		if err == nil && b.Origin == "" {
			t.Error("got a bundle without an origin")
		}
		for _, err := range []error{err, b.Check(acceptAnyPath)} {
			if err == nil {
				continue
			}
			for fault := range strings.Lines(err.Error()) {
				if !strings.Contains(fault, ": ") {
					t.Errorf("no cure in %q", fault)
				}
			}
		}
	})
}

// TestRead_ReportsEveryIgnoredFile has files as Windows and certificate authorities
// name them.
func TestRead_ReportsEveryIgnoredFile(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, want := range map[string]struct{ fault, unused string }{
		"sealpost.toml.txt": {"the name must be sealpost.toml", ""},
		"password.txt.txt":  {"the name must be password.txt", ""},
		"Secret.TXT.txt":    {"the name must be Secret.TXT", ""},
		"a.pfx.txt":         {"the name must be a.pfx", ""},
		"a.cer.txt":         {"the name must be a.cer", ""},
		"a.key":             {"", "sealpost/a.key: put key and certificate into one PFX"},
		"chain.p7b":         {"", "sealpost/chain.p7b: put the whole chain"},
		"a.ca-bundle":       {"", "sealpost/a.ca-bundle: put the whole chain"},
		"notes.docx":        {"", "sealpost/notes.docx"},
		"notes.txt":         {"", "sealpost/notes.txt"},
		"result.txt":        {"", ""},
		".DS_Store":         {"", ""},
	} {
		stick := fstest.MapFS{"sealpost/sealpost.toml": file("[site]\n"), "sealpost/" + name: file("x")}
		b, err := Read(stick, "1")
		switch text := fmt.Sprint(err); {
		case want.fault != "" && !strings.Contains(text, want.fault):
			t.Errorf("%s: got %q, want %q", name, text, want.fault)
		case want.fault == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Join(b.Unused, ", "); want.fault == "" && (want.unused == "") != (got == "") || !strings.HasPrefix(got, want.unused) {
			t.Errorf("%s: got unused %q, want %q", name, got, want.unused)
		}
		result := Result{Applied: true, Files: b.Files(), Unused: b.Unused}
		if want.unused != "" && !strings.Contains(string(result.Text("1", time.Time{})), "Not used: "+want.unused) {
			t.Errorf("%s: got result without the unused file:\n%s", name, result.Text("1", time.Time{}))
		}
	}
}

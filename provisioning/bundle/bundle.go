// Package bundle applies what a technician put on a USB stick for a box: a folder
// sealpost with settings, a certificate, the certificate's password, and the
// client secret of an application.
//
//	sealpost/sealpost.toml
//	sealpost/contoso.pfx         or .p12; or .pem or .crt, the answer to a request
//	sealpost/password.txt        the PFX's password in its first line
//	sealpost/secret.txt          the client secret in its first line
//	sealpost/<serial number>/…   the same for one box, which then reads nothing else
//
// It knows names, sizes and what a file may be, and commits what is in order. It
// must not know how a stick is reached, how the box stores what is committed, or
// the time. It reads files of these names
// only, and nothing that a file system of strangers could lead elsewhere.
package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode"

	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/settings"
)

// Folder is where everything lies on the stick.
const Folder = "sealpost"

const (
	settingsName = "sealpost.toml"
	passwordName = "password.txt"
	secretName   = "secret.txt"
	// maxPassword is the largest file with a password or a secret, in bytes.
	maxPassword = 4096
	// mostEntries is how many files and folders a folder may hold.
	mostEntries = 1000
)

// ErrNone is returned where the stick has no folder for a box.
var ErrNone = errors.New("the stick has no folder named " + Folder + ": make one, and put " + settingsName + " and the PFX into it")

// Bundle is what a stick holds for one box.
type Bundle struct {
	candidate.Candidate
	// Folder is where the files lie on the stick.
	Folder string

	settings, certificate, password, secret string // paths on the stick; empty for none
}

// Files are the paths of what was read.
func (b Bundle) Files() []string {
	var files []string
	for _, file := range []string{b.settings, b.certificate, b.password, b.secret} {
		if file != "" {
			files = append(files, file)
		}
	}
	return files
}

// Read reads what the stick holds for the box of this serial number. Its error
// names every fault at once, one a line, each with its cure; what could be read
// is returned beside it.
func Read(stick fs.FS, serial string) (Bundle, error) {
	entries, err := list(stick, Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return Bundle{}, ErrNone
	}
	if err != nil {
		return Bundle{}, err
	}
	folder, err := folderFor(entries, serial)
	if err != nil {
		return Bundle{}, err
	}
	if folder != Folder {
		if entries, err = list(stick, folder); err != nil {
			return Bundle{}, err
		}
	}
	b := Bundle{Folder: folder}
	r := reader{stick: stick, folder: folder, entries: entries}
	r.read(&b, others(entries, folder))
	return b, errors.Join(r.faults...)
}

// list returns the entries of a folder, if they are not too many.
func list(stick fs.FS, folder string) ([]fs.DirEntry, error) {
	dir, err := stick.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, unreadable(folder, err)
	}
	defer dir.Close()
	lister, ok := dir.(fs.ReadDirFile)
	if info, err := dir.Stat(); !ok || err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s: this is no folder: make a folder of that name, and put the files into it", printable(folder))
	}
	entries, err := lister.ReadDir(mostEntries + 1)
	if len(entries) > mostEntries {
		return nil, fmt.Errorf("%s: the folder holds more than %d files: leave those for the box, and take the others away", printable(folder), mostEntries)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, unreadable(folder, err)
	}
	return entries, nil
}

// folderFor chooses the folder of this box, or else the common one.
func folderFor(entries []fs.DirEntry, serial string) (string, error) {
	var own []string
	for _, entry := range entries {
		if entry.IsDir() && sameNumber(entry.Name(), serial) {
			own = append(own, path.Join(Folder, entry.Name()))
		}
	}
	switch len(own) {
	case 0:
		return Folder, nil
	case 1:
		return own[0], nil
	}
	return "", fmt.Errorf("%s: these folders are for the same box: leave one of them", printable(strings.Join(own, ", ")))
}

// sameNumber compares serial numbers as people write them.
func sameNumber(a, b string) bool {
	bare := strings.NewReplacer(":", "", "-", "", " ", "")
	return bare.Replace(b) != "" && strings.EqualFold(bare.Replace(a), bare.Replace(b))
}

// others are the folders for other boxes, where this one's is the common one.
func others(entries []fs.DirEntry, folder string) []string {
	var names []string
	for _, entry := range entries {
		if folder == Folder && entry.IsDir() && !hidden(entry.Name()) {
			names = append(names, printable(entry.Name()))
		}
	}
	return names
}

// hidden are the files that macOS and Windows put beside a person's own.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// Check says what stands against the contents of the files. Judge refuses a
// certificate that the tenant could make nothing of.
func (b Bundle) Check(judge func(certificate.Path) error) error {
	return errors.Join(b.checkSettings(), b.checkCertificate(judge))
}

func (b Bundle) checkSettings() error {
	if b.settings == "" || b.Settings == "" {
		return nil
	}
	_, err := settings.Parse([]byte(b.Settings))
	var all settings.Errors
	if !errors.As(err, &all) {
		return err
	}
	faults := make([]error, len(all))
	for i, fault := range all {
		faults[i] = fmt.Errorf("%s: %w", printable(b.settings), fault)
	}
	return errors.Join(faults...)
}

func (b Bundle) checkCertificate(judge func(certificate.Path) error) error {
	name := printable(b.certificate)
	switch {
	case len(b.PEM) > 0:
		if _, err := certificate.ParsePEM(b.PEM); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	case len(b.PFX) == 0:
		return nil
	}
	opened, err := certificate.ParsePFX(b.PFX, string(b.Password))
	if errors.Is(err, certificate.ErrPassword) {
		return b.passwordFault()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	certificate.WipeKey(opened.Key)
	if err := judge(opened.Path); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// passwordFault names both ways to give the right password.
func (b Bundle) passwordFault() error {
	if b.password == "" {
		return fmt.Errorf("%s: it has a password, and there is none on the stick: write it into the first line of %s, or set the box up over its serial console, which asks for it",
			printable(b.certificate), printable(path.Join(b.Folder, passwordName)))
	}
	return fmt.Errorf("%s: this password does not open %s: correct the first line, mind capital letters, or set the box up over its serial console, which asks for it",
		printable(b.password), printable(b.certificate))
}

// firstLine is what an editor leaves of one line of text.
func firstLine(text []byte) (string, error) {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return "", errors.New("it is saved as UTF-16 (\"Unicode\"): save it again as UTF-8")
	}
	line, _, _ := bytes.Cut(bytes.TrimPrefix(text, []byte("\ufeff")), []byte("\n"))
	return strings.TrimSuffix(string(line), "\r"), nil
}

func unreadable(name string, err error) error {
	return fmt.Errorf("%s: it cannot be read: copy it to the stick again, or try another stick (%s)", printable(name), printable(err.Error()))
}

// printable keeps names on a stick from steering a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// Package bundle applies the files of a USB stick: a folder sealpost with
// settings, a certificate, the certificate's password, the client secret of an
// application, and the users as whom devices log in.
//
//	sealpost/sealpost.toml
//	sealpost/contoso.pfx         or .p12; or .pem or .crt, the certificate for a request
//	sealpost/password.txt        the PFX's password in its first line
//	sealpost/secret.txt          the client secret in its first line
//	sealpost/lan.pfx             the site's own server certificate for the LAN; its password in lan-password.txt
//	sealpost/users.txt           a user per line: name, password and perhaps cram-md5
//	sealpost/<serial number>/…   the same for one box, which then ignores the others
//
// It knows the names, sizes and types of these files, and commits them if they
// are valid. It must not know how a stick is mounted, how the box stores what is
// committed, or the time. It reads regular files with these names only, because
// the file system is not trusted.
package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"sealpost/hal/printable"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/settings"
)

// Folder is the folder on the stick.
const Folder = "sealpost"

const (
	settingsName = "sealpost.toml"
	passwordName = "password.txt"
	secretName   = "secret.txt"
	// The site's own certificate for the LAN has a name of its own, because any other
	// PFX is the client certificate.
	lanName         = "lan.pfx"
	lanPasswordName = "lan-password.txt"
	// maxPassword is the largest file with a password or a secret, in bytes.
	maxPassword = 4096
	// maxEntries is the maximum number of files and folders in a folder.
	maxEntries = 1000
)

// ErrNone is returned for a stick without the folder.
var ErrNone = errors.New("the stick has no folder named " + Folder + ": create it, and copy " + settingsName + " and the PFX into it")

// Bundle is the content of a stick for one box.
type Bundle struct {
	candidate.Candidate
	// Folder is the folder that was read.
	Folder string
	// Unused are the other files of the folder, for the result.
	Unused []string

	settings, certificate, password, secret, lan, lanPassword, users string // paths on the stick; empty for none
}

// Files returns the paths of the files that were read.
func (b Bundle) Files() []string {
	var files []string
	for _, file := range []string{b.settings, b.certificate, b.password, b.secret, b.lan, b.lanPassword, b.users} {
		if file != "" {
			files = append(files, file)
		}
	}
	return files
}

// Read reads the files for the box with this serial number. Its error joins all
// faults, each with what to do; what could be read is also returned.
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
	r.read(&b, serial, foldersForOtherBoxes(entries, folder))
	return b, errors.Join(r.faults...)
}

// list returns the entries of a folder, up to maxEntries.
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
		return nil, fmt.Errorf("%s: this is not a folder: create a folder of that name, and copy the files into it", printable.Line(folder))
	}
	entries, err := lister.ReadDir(maxEntries + 1)
	if len(entries) > maxEntries {
		return nil, fmt.Errorf("%s: the folder contains more than %d files: delete those that are not for the box", printable.Line(folder), maxEntries)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, unreadable(folder, err)
	}
	return entries, nil
}

// folderFor returns the folder for this box, or else the common one.
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
	return "", fmt.Errorf("%s: these folders are for the same box: delete all but one", printable.Line(strings.Join(own, ", ")))
}

// sameNumber compares serial numbers, ignoring case and separators.
func sameNumber(a, b string) bool {
	bare := strings.NewReplacer(":", "", "-", "", " ", "")
	return bare.Replace(b) != "" && strings.EqualFold(bare.Replace(a), bare.Replace(b))
}

// foldersForOtherBoxes returns the folders for other boxes if the common folder is read.
func foldersForOtherBoxes(entries []fs.DirEntry, folder string) []string {
	var names []string
	for _, entry := range entries {
		if folder == Folder && entry.IsDir() && !hidden(entry.Name()) {
			names = append(names, printable.Line(entry.Name()))
		}
	}
	return names
}

// hidden reports whether a file was created by macOS or Windows.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// Check returns the faults in the contents of the files. checkPath rejects a
// certificate that Exchange Online could not use.
func (b Bundle) Check(checkPath func(certificate.Path) error) error {
	return errors.Join(b.checkSettings(), b.checkCertificate(checkPath), b.checkLAN())
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
		faults[i] = fmt.Errorf("%s: %w", printable.Line(b.settings), fault)
	}
	return errors.Join(faults...)
}

func (b Bundle) checkCertificate(checkPath func(certificate.Path) error) error {
	name := printable.Line(b.certificate)
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
	if err := checkPath(opened.Path); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// checkLAN checks that the password opens the certificate for the LAN.
func (b Bundle) checkLAN() error {
	if len(b.LAN) == 0 {
		return nil
	}
	opened, err := certificate.ParsePFX(b.LAN, string(b.LANPassword))
	if errors.Is(err, certificate.ErrPassword) {
		return fmt.Errorf("%s: its password is not in the first line of %s: write it there, and check upper and lower case",
			printable.Line(b.lan), printable.Line(path.Join(b.Folder, lanPasswordName)))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", printable.Line(b.lan), err)
	}
	certificate.WipeKey(opened.Key)
	return nil
}

// passwordFault names both ways to enter the right password.
func (b Bundle) passwordFault() error {
	if b.password == "" {
		return fmt.Errorf("%s: it has a password, but the stick has no password file: write it into the first line of %s, or set the box up over its serial console, which asks for it",
			printable.Line(b.certificate), printable.Line(path.Join(b.Folder, passwordName)))
	}
	return fmt.Errorf("%s: this password does not open %s: correct the first line, check upper and lower case, or set the box up over its serial console, which asks for it",
		printable.Line(b.password), printable.Line(b.certificate))
}

// plain returns a text without its byte order mark.
func plain(text []byte) ([]byte, error) {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil, errors.New("it is saved as UTF-16 (\"Unicode\"): save it again as UTF-8")
	}
	return bytes.TrimPrefix(text, []byte("\ufeff")), nil
}

// firstLine returns the first line, without a byte order mark or line ending.
func firstLine(text []byte) (string, error) {
	text, err := plain(text)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return strings.TrimSuffix(string(line), "\r"), nil
}

func unreadable(name string, err error) error {
	return fmt.Errorf("%s: it cannot be read: copy it to the stick again, or try another stick (%s)", printable.Line(name), printable.Line(err.Error()))
}

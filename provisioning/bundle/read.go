package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/settings"
)

// reader reads the files of one folder and gathers what is wrong with them.
type reader struct {
	stick   fs.FS
	folder  string
	entries []fs.DirEntry
	faults  []error
}

func (r *reader) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf(format, args...))
}

// read fills the bundle. Others are the folders for other boxes.
func (r *reader) read(b *Bundle, others []string) {
	var text []byte
	b.settings, text = r.one("settings files", settings.MaxText, func(name string) bool { return strings.EqualFold(name, settingsName) })
	b.Settings = string(text)
	pfx, pfxData := r.one("PFX files", certificate.MaxInput, endsIn(".pfx", ".p12"))
	pem, pemData := r.one("certificate files", certificate.MaxInput, endsIn(".pem", ".crt"))
	if pfx != "" && pem != "" {
		r.fault("%s, %s: there is a PFX and the answer to a request: leave one of them", printable(pfx), printable(pem))
	}
	b.certificate, b.PFX, b.PEM = pfx, pfxData, pemData
	if pfx == "" {
		b.certificate = pem
	}
	if pfx != "" {
		b.password, b.Password = r.line("password files", passwordName)
	}
	b.secret, b.ClientSecret = r.line("secret files", secretName)
	if b.secret != "" && b.ClientSecret == "" && len(r.faults) == 0 {
		r.fault("%s: its first line is empty: write the client secret's value there", printable(b.secret))
	}
	if b.settings == "" {
		r.hiddenEnding()
	}
	if b.settings == "" && b.certificate == "" && b.secret == "" && len(r.faults) == 0 {
		r.nothing(others)
	}
	// A password has no part in it: a digest of it could be guessed at. A
	// client secret, which a machine made up, could not.
	parts := [][]byte{text, pfxData, pemData}
	if b.ClientSecret != "" {
		parts = append(parts, []byte(b.ClientSecret))
	}
	b.Origin = candidate.Digest(parts...)
}

// line reads the first line of the file of that name.
func (r *reader) line(what, name string) (string, candidate.Password) {
	found, text := r.one(what, maxPassword, func(n string) bool { return strings.EqualFold(n, name) })
	line, err := firstLine(text)
	if err != nil {
		r.fault("%s: %w", printable(found), err)
	}
	return found, candidate.Password(line)
}

// hiddenEnding refuses settings that Windows shows under the right name: without
// them the certificate beside them would be taken alone.
func (r *reader) hiddenEnding() {
	const twice = settingsName + ".txt"
	if slices.ContainsFunc(r.entries, func(e fs.DirEntry) bool { return strings.EqualFold(e.Name(), twice) }) {
		r.fault("%s: the name must be %s: Windows hides the ends of names, have it show them and take .txt away", printable(path.Join(r.folder, twice)), settingsName)
	}
}

// nothing says why there is nothing to read.
func (r *reader) nothing(others []string) {
	if len(others) > 0 {
		const some = 10
		r.fault("%s: there are folders for other boxes (%s) and none for this one: make a folder named as this box's serial number, and put %s and the PFX into it",
			r.folder, strings.Join(others[:min(some, len(others))], ", "), settingsName)
		return
	}
	r.fault("%s: the folder holds neither %s nor a .pfx: put them into it", printable(r.folder), settingsName)
}

func endsIn(ends ...string) func(string) bool {
	return func(name string) bool { return slices.Contains(ends, strings.ToLower(path.Ext(name))) }
}

// one reads the one file whose name is wanted. It gives the file's path also
// where it could not be read, and no path where there is no such file.
func (r *reader) one(what string, limit int64, wanted func(name string) bool) (string, []byte) {
	var found []string
	var entry fs.DirEntry
	for _, e := range r.entries {
		if !hidden(e.Name()) && wanted(e.Name()) {
			found, entry = append(found, path.Join(r.folder, e.Name())), e
		}
	}
	switch {
	case len(found) == 0:
		return "", nil
	case len(found) > 1:
		const some = 10
		r.fault("%s: there are %d %s: leave the one that is meant for this box", printable(strings.Join(found[:min(some, len(found))], ", ")), len(found), what)
		return found[0], nil
	case !entry.Type().IsRegular():
		r.fault("%s: this is a %s and not a file: put the file itself there", printable(found[0]), kindOf(entry.Type()))
		return found[0], nil
	}
	data, err := readFile(r.stick, found[0], limit)
	if err != nil {
		r.faults = append(r.faults, err)
		return found[0], nil
	}
	return found[0], data
}

func kindOf(t fs.FileMode) string {
	switch {
	case t.IsDir():
		return "folder"
	case t&fs.ModeSymlink != 0:
		return "link"
	}
	return "special file"
}

// readFile reads a file whole, unless its size alone refuses it.
func readFile(stick fs.FS, name string, limit int64) ([]byte, error) {
	file, err := stick.Open(name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, unreadable(name, err)
	case !info.Mode().IsRegular():
		return nil, unreadable(name, errors.New("it is not a file any more"))
	case info.Size() > limit:
		return nil, fmt.Errorf("%s: it is larger than %d KiB and cannot be what its name says: put the right file in its place", printable(name), limit>>10)
	case info.Size() == 0:
		return nil, fmt.Errorf("%s: it is empty: copy it again, and eject the stick before you pull it", printable(name))
	}
	data, err := io.ReadAll(io.LimitReader(file, limit))
	if err != nil {
		return nil, unreadable(name, err)
	}
	return data, nil
}

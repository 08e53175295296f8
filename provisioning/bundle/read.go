package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"sealpost/hal/printable"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
	"sealpost/provisioning/settings"
)

// reader reads the files of one folder and collects the faults.
type reader struct {
	stick   fs.FS
	folder  string
	entries []fs.DirEntry
	faults  []error
}

func (r *reader) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf(format, args...))
}

// read fills the bundle. others are the folders for other boxes.
func (r *reader) read(b *Bundle, serial string, otherFolders []string) {
	var text []byte
	b.settings, text = r.onlyFile("settings files", settings.MaxText, func(name string) bool { return strings.EqualFold(name, settingsName) })
	b.Settings = string(text)
	pfx, pfxData := r.onlyFile("PFX files", certificate.MaxInput, func(name string) bool { return !strings.EqualFold(name, lanName) && endsIn(".pfx", ".p12")(name) })
	pem, pemData := r.onlyFile("certificate files", certificate.MaxInput, func(name string) bool {
		return !strings.EqualFold(name, AuthorityName) && endsIn(".pem", ".crt", ".cer")(name)
	})
	if pfx != "" && pem != "" {
		r.fault("%s, %s: there are both a PFX and a certificate for a request: delete one of them", printable.Line(pfx), printable.Line(pem))
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
		r.fault("%s: its first line is empty: write the client secret's value there", printable.Line(b.secret))
	}
	b.lan, b.LAN = r.onlyFile("PFX files for the LAN", certificate.MaxInput, func(name string) bool { return strings.EqualFold(name, lanName) })
	if b.lan != "" {
		b.lanPassword, b.LANPassword = r.line("password files", lanPasswordName)
	}
	users := r.readUsers(b, serial)
	r.checkHiddenExtensions()
	b.Unused = r.unused(b.Files())
	if b.settings == "" && b.certificate == "" && b.secret == "" && b.lan == "" && b.users == "" && len(r.faults) == 0 {
		r.reportNoFiles(otherFolders)
	}
	// The digest omits the password, which could be guessed from it. A client
	// secret is random and cannot be, and from a fingerprint guessing is expensive.
	parts := [][]byte{text, pfxData, pemData}
	if b.ClientSecret != "" {
		parts = append(parts, []byte(b.ClientSecret))
	}
	for _, optional := range [][]byte{b.LAN, users} {
		if optional != nil {
			parts = append(parts, optional)
		}
	}
	b.Origin = candidate.Digest(parts...)
}

// line reads the first line of the file of that name.
func (r *reader) line(what, name string) (string, candidate.Password) {
	found, text := r.onlyFile(what, maxPassword, func(n string) bool { return strings.EqualFold(n, name) })
	line, err := firstLine(text)
	if err != nil {
		r.fault("%s: %w", printable.Line(found), err)
	}
	return found, candidate.Password(line)
}

// checkHiddenExtensions rejects files that Windows shows under the right name, but
// which end in .txt; otherwise the rest would be applied without them.
func (r *reader) checkHiddenExtensions() {
	for _, e := range r.entries {
		shown, isText := cutSuffixFold(e.Name(), ".txt")
		if !isText || hidden(e.Name()) {
			continue
		}
		meant := slices.ContainsFunc([]string{settingsName, passwordName, secretName, lanPasswordName, usersName}, func(name string) bool { return strings.EqualFold(shown, name) })
		if meant || endsIn(".pfx", ".p12", ".pem", ".crt", ".cer")(shown) {
			r.fault("%s: the name must be %s: show file name extensions in Windows, and remove .txt", printable.Line(path.Join(r.folder, e.Name())), printable.Line(shown))
		}
	}
}

func cutSuffixFold(s, suffix string) (string, bool) {
	if len(s) < len(suffix) || !strings.EqualFold(s[len(s)-len(suffix):], suffix) {
		return s, false
	}
	return s[:len(s)-len(suffix)], true
}

// unused returns the other files of the folder, with what to know about those that
// look as if they belonged to a certificate.
func (r *reader) unused(used []string) []string {
	var unused []string
	for _, e := range r.entries {
		name := path.Join(r.folder, e.Name())
		if hidden(e.Name()) || e.IsDir() || slices.Contains(used, name) || strings.EqualFold(e.Name(), ResultName) || strings.EqualFold(e.Name(), AuthorityName) {
			continue
		}
		about := ""
		switch strings.ToLower(path.Ext(name)) {
		case ".key":
			about = ": put key and certificate into one PFX"
		case ".p7b", ".ca-bundle", ".der":
			about = ": put the whole chain into the PFX, or into one .pem file"
		}
		unused = append(unused, printable.Line(name)+about)
	}
	return unused[:min(len(unused), maxUnused)]
}

// maxUnused is how many unused files a result names.
const maxUnused = 20

// reportNoFiles reports why there is nothing to read.
func (r *reader) reportNoFiles(otherFolders []string) {
	if len(otherFolders) > 0 {
		const some = 10
		r.fault("%s: there are folders for other boxes (%s) but none for this one: create a folder with this box's serial number as its name, and copy %s and the PFX into it",
			r.folder, strings.Join(otherFolders[:min(some, len(otherFolders))], ", "), settingsName)
		return
	}
	r.fault("%s: the folder contains neither %s nor a .pfx%s: copy them into it", printable.Line(r.folder), settingsName, r.otherNames())
}

// otherNames returns the names of the files that are in the folder.
func (r *reader) otherNames() string {
	names := r.unused(nil)
	if len(names) == 0 {
		return ""
	}
	const some = 5
	return ", but " + strings.Join(names[:min(some, len(names))], ", ")
}

func endsIn(ends ...string) func(string) bool {
	return func(name string) bool { return slices.Contains(ends, strings.ToLower(path.Ext(name))) }
}

// onlyFile reads the only file that match accepts. It returns the path even if the
// file could not be read, and no path if there is no such file.
func (r *reader) onlyFile(what string, limit int64, match func(name string) bool) (string, []byte) {
	var found []string
	var entry fs.DirEntry
	for _, e := range r.entries {
		if !hidden(e.Name()) && match(e.Name()) {
			found, entry = append(found, path.Join(r.folder, e.Name())), e
		}
	}
	switch {
	case len(found) == 0:
		return "", nil
	case len(found) > 1:
		const some = 10
		r.fault("%s: there are %d %s: delete all but the one for this box", printable.Line(strings.Join(found[:min(some, len(found))], ", ")), len(found), what)
		return found[0], nil
	case !entry.Type().IsRegular():
		r.fault("%s: this is a %s, not a file: copy the file itself there", printable.Line(found[0]), kindOf(entry.Type()))
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

// readFile reads a complete file of at most limit bytes.
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
		return nil, fmt.Errorf("%s: it is larger than %d KiB, so it is the wrong file: replace it with the right one", printable.Line(name), limit>>10)
	case info.Size() == 0:
		return nil, fmt.Errorf("%s: it is empty: copy it again, and eject the stick before you pull it", printable.Line(name))
	}
	data, err := io.ReadAll(io.LimitReader(file, limit))
	if err != nil {
		return nil, unreadable(name, err)
	}
	return data, nil
}

package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"sealpost/hal/fault"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/certificate"
)

// ResultName is the file in [Folder] with the result of a stick.
const ResultName = "result.txt"

// AuthorityName is the file in [Folder] with the certificate of the box's own CA for the
// LAN, which the box writes.
const AuthorityName = "sealpost-ca.crt"

// Result is the result of applying a stick.
type Result struct {
	Applied       bool           `json:"applied,omitempty"` // to this box, now
	AppliedBefore bool           `json:"before,omitempty"`  // so nothing was changed
	Files         []string       `json:"files,omitempty"`   // the files that were read
	Users         []string       `json:"users,omitempty"`   // the names of the users in them
	Unused        []string       `json:"unused,omitempty"`  // other files of the folder
	Faults        []*fault.Fault `json:"faults,omitempty"`
}

// Rejected returns the result of a stick with faults; a joined error has several.
func Rejected(err error) Result { return Result{Faults: fault.List(err)} }

func (r Result) String() string {
	switch {
	case r.Applied:
		return "applied: " + strings.Join(r.Files, ", ")
	case r.AppliedBefore:
		return "applied before, nothing was changed: " + strings.Join(r.Files, ", ")
	}
	var texts []string
	for _, f := range r.Faults {
		texts = append(texts, f.Text)
	}
	return "rejected, nothing was changed: " + strings.Join(texts, "; ")
}

// Opener returns the checker for a candidate, and a function that releases it.
// The checker may depend on the candidate's settings.
type Opener func(context.Context, candidate.Candidate) (k candidate.Checker, done func() error, err error)

// Apply reads the files for the box with this serial number and commits them in
// one write, unless exactly these were committed before. If there is any fault,
// nothing is changed and the result lists all faults. checkPath rejects a
// certificate that Exchange Online could not use.
func Apply(ctx context.Context, stick fs.FS, serial string, checkPath func(certificate.Path) error, open Opener) Result {
	b, faults := Read(stick, serial)
	var r Result
	switch before, err := b.commit(ctx, faults, checkPath, open); {
	case before:
		r.AppliedBefore = true
	case err != nil:
		r = Rejected(err)
	default:
		r.Applied = true
	}
	r.Files, r.Users, r.Unused = b.Files(), b.userNames(), b.Unused
	return r
}

// commit commits a bundle without faults. It reports whether the same files
// were committed before.
func (b Bundle) commit(ctx context.Context, faults error, checkPath func(certificate.Path) error, open Opener) (before bool, err error) {
	if faults != nil {
		return false, errors.Join(faults, b.Check(checkPath))
	}
	checker, done, err := open(ctx, b.Candidate)
	if err != nil {
		return false, err
	}
	before, err = candidate.Applied(ctx, checker.Store, b.Origin)
	if err == nil && !before {
		if err = errors.Join(b.Check(checkPath), b.checkNewBox(ctx, checker.Store)); err == nil {
			err = checker.Commit(ctx, b.Candidate)
		}
	}
	return before, errors.Join(err, done())
}

// checkNewBox rejects a bundle without settings on a new box: the box would look
// configured.
func (b Bundle) checkNewBox(ctx context.Context, store candidate.Store) error {
	if b.Settings != "" {
		return nil
	}
	_, err := candidate.Load(ctx, store)
	if errors.Is(err, candidate.ErrFactory) {
		return fmt.Errorf("%s: this box is not set up, and there are no settings: add sealpost.toml, or set the box up over its serial console first", b.Folder)
	}
	return err
}

// cures are the cures for a person who reads the result on a PC.
var cures = fault.Cures{
	fault.NoStorage:    "switch the box off, check that its card or storage is fitted firmly, and switch it on; if this does not help, replace the storage",
	fault.NoState:      "switch the box off and on; if this does not help, replace the storage",
	fault.StateInUse:   "plug the stick in again after a minute",
	fault.StateDamaged: "hold the box's button for 10 seconds to reset it, and plug the stick in again; if it happens again, replace the flash",
	fault.StateNewer:   "install that version again, or hold the box's button for 10 seconds to reset it, and plug the stick in again",
	fault.NoRequest:    "put a PFX on the stick, or create a certificate request on the box's serial console first",
}

// Text returns the content of [ResultName]. A zero time is omitted.
func (r Result) Text(serial string, now time.Time) []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("Sealpost: result for this stick")
	line("")
	line("Box:   %s", serial)
	if !now.IsZero() {
		line("Time:  %s UTC", now.Format(time.DateTime))
	}
	for i, name := range r.Files {
		line("%-6s %s", []string{"Read:", ""}[min(i, 1)], name)
	}
	for i, name := range r.Users {
		line("%-6s %s", []string{"Users:", ""}[min(i, 1)], name)
	}
	for i, name := range r.Unused {
		line("%-9s %s", []string{"Not used:", ""}[min(i, 1)], name)
	}
	line("")
	switch {
	case r.Applied:
		line("The box has applied these files.")
		line("")
		line("Next: pull the stick out, and delete the PFX, the password and the secret from")
		line("it: the box has its own copy. Send a test message from a device. If the lamp is")
		line("not on steadily after a minute, the serial console says why.")
		if len(r.Users) > 0 {
			line("")
			line("%s still contains the passwords of the users: delete it as well.", usersName)
		}
	case r.AppliedBefore:
		line("This box has already applied exactly these files. Nothing was changed.")
		line("")
		line("Next: pull the stick out. To change the settings, change the files.")
	default:
		line("Nothing was changed, because of these faults:")
		for i, f := range r.Faults {
			line("%d. %s", i+1, cures.Append(f.Text, f.Code, f.Facts))
		}
		line("")
		line("Next: correct the files, eject the stick, and plug it into the box again.")
	}
	return []byte(b.String())
}

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

// ResultName is the file in [Folder] that tells what became of a stick.
const ResultName = "result.txt"

// Verdict is what became of a stick.
type Verdict struct {
	Applied bool           `json:"applied,omitempty"` // to this box, now
	Before  bool           `json:"before,omitempty"`  // applied earlier, so nothing was changed
	Files   []string       `json:"files,omitempty"`   // that were read
	Faults  []*fault.Fault `json:"faults,omitempty"`
}

// Refused is the verdict on a stick with faults; a joined error is several.
func Refused(err error) Verdict { return Verdict{Faults: fault.List(err)} }

func (v Verdict) String() string {
	switch {
	case v.Applied:
		return "applied: " + strings.Join(v.Files, ", ")
	case v.Before:
		return "applied before, nothing was changed: " + strings.Join(v.Files, ", ")
	}
	var texts []string
	for _, f := range v.Faults {
		texts = append(texts, f.Text)
	}
	return "refused, nothing was changed: " + strings.Join(texts, "; ")
}

// Opener returns the checker for a candidate, and a function that releases it. The parts
// that it opens may depend on the settings in the candidate.
type Opener func(context.Context, candidate.Candidate) (k candidate.Checker, done func() error, err error)

// Apply reads what a stick holds for the box of this serial number and commits
// it in one write, unless exactly that was committed before. Files in which
// anything is wrong change nothing, and the verdict names every fault. Judge
// refuses a certificate that the tenant could make nothing of.
func Apply(ctx context.Context, stick fs.FS, serial string, judge func(certificate.Path) error, open Opener) Verdict {
	b, faults := Read(stick, serial)
	var v Verdict
	switch before, err := b.commit(ctx, faults, judge, open); {
	case before:
		v.Before = true
	case err != nil:
		v = Refused(err)
	default:
		v.Applied = true
	}
	v.Files = b.Files()
	return v
}

// commit commits a bundle in which nothing is wrong. It tells whether that was
// done before.
func (b Bundle) commit(ctx context.Context, faults error, judge func(certificate.Path) error, open Opener) (before bool, err error) {
	if faults != nil {
		return false, errors.Join(faults, b.Check(judge))
	}
	checker, done, err := open(ctx, b.Candidate)
	if err != nil {
		return false, err
	}
	before, err = candidate.Applied(ctx, checker.Store, b.Origin)
	if err == nil && !before {
		if err = errors.Join(b.Check(judge), b.checkFirst(ctx, checker.Store)); err == nil {
			err = checker.Commit(ctx, b.Candidate)
		}
	}
	return before, errors.Join(err, done())
}

// checkFirst refuses what a box cannot work by as long as it has no settings:
// taken alone it would look like a box that was set up.
func (b Bundle) checkFirst(ctx context.Context, store candidate.Store) error {
	if b.Settings != "" {
		return nil
	}
	_, err := candidate.Load(ctx, store)
	if errors.Is(err, candidate.ErrFactory) {
		return fmt.Errorf("%s: this box was never set up, and there are no settings: put sealpost.toml there too, or set the box up over its serial console first", b.Folder)
	}
	return err
}

// words are those of the file with the result, which is read at a PC: what to
// do about the faults that a stick can meet.
var words = fault.Words{
	fault.NoStorage:    "switch the box off, check that its card or storage is fitted firmly, and switch it on; if it stays so, replace the storage",
	fault.NoState:      "switch the box off and on; if it stays so, replace the storage",
	fault.StateInUse:   "put the stick in again after a minute",
	fault.StateDamaged: "hold the box's button for 10 seconds to reset it, and put the stick in again; if this comes back, replace the flash",
	fault.StateNewer:   "install that version again, or hold the box's button for 10 seconds to reset it, and put the stick in again",
	fault.NoRequest:    "put a PFX on the stick, or make a request on the box's serial console first",
}

// Result is the content of [ResultName], which tells a technician at a PC what
// became of the stick. A zero time is left out.
func (v Verdict) Result(serial string, now time.Time) []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("Sealpost: what became of this stick")
	line("")
	line("Box:   %s", serial)
	if !now.IsZero() {
		line("Time:  %s UTC", now.Format(time.DateTime))
	}
	for i, name := range v.Files {
		line("%-6s %s", []string{"Read:", ""}[min(i, 1)], name)
	}
	line("")
	switch {
	case v.Applied:
		line("The box has taken this over.")
		line("")
		line("Next: pull the stick, and take PFX, password and secret off it: the box has")
		line("its own copy. Have a device send a test message. If the lamp is not on steadily")
		line("after a minute, the serial console says why.")
	case v.Before:
		line("This box has taken exactly these files over before. Nothing was changed.")
		line("")
		line("Next: pull the stick. If the box is to have other settings, change the files.")
	default:
		line("Nothing was changed, because of:")
		for i, f := range v.Faults {
			line("%d. %s", i+1, words.Append(f.Text, f.Code, f.Facts))
		}
		line("")
		line("Next: correct this on the stick, eject it, and put it into the box again.")
	}
	return []byte(b.String())
}

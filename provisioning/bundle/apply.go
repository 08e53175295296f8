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
)

// Verdict is what became of a stick. Without Applied and Before it was refused.
type Verdict struct {
	Applied bool           `json:"applied,omitempty"` // to this box, now
	Before  bool           `json:"before,omitempty"`  // applied earlier, so nothing was changed
	Files   []string       `json:"files,omitempty"`   // that were read
	Faults  []*fault.Fault `json:"faults,omitempty"`
}

// Refused is the verdict on a stick that could not be read.
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

// OpenChecker gives who checks and commits a candidate; the caller calls done.
type OpenChecker func(ctx context.Context, wanted candidate.Candidate) (k candidate.Checker, done func() error, err error)

var errAppliedBefore = errors.New("this was applied before")

// Apply reads what a stick holds for the box of this serial number and commits
// it, unless it was applied before.
func Apply(ctx context.Context, stick fs.FS, serial string, open OpenChecker) Verdict {
	b, faults := Read(stick, serial)
	v := Verdict{Files: b.Files()}
	err := b.commit(ctx, faults, open)
	switch {
	case errors.Is(err, errAppliedBefore):
		v.Before = true
	case err != nil:
		v.Faults = fault.List(err)
	default:
		v.Applied = true
	}
	return v
}

// commit commits a bundle in which nothing is wrong.
func (b Bundle) commit(ctx context.Context, faults error, open OpenChecker) (err error) {
	checker, done, err := open(ctx, b.Candidate)
	if err != nil {
		return errors.Join(faults, err)
	}
	defer func() { err = errors.Join(err, done()) }()
	if faults != nil {
		return errors.Join(faults, b.Check(checker.Judge))
	}
	before, err := candidate.Applied(ctx, checker.Store, b.Origin)
	switch {
	case err != nil:
		return err
	case before:
		return errAppliedBefore
	}
	if err := errors.Join(b.Check(checker.Judge), b.comesFirst(ctx, checker.Store)); err != nil {
		return err
	}
	return checker.Commit(ctx, b.Candidate)
}

// comesFirst refuses what a box cannot work by as long as it has no settings:
// taken alone it would look like a box that was set up.
func (b Bundle) comesFirst(ctx context.Context, store candidate.Store) error {
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
	fault.NoStorage:       "switch the box off, check that its card or storage is fitted firmly, and switch it on; if it stays so, replace the storage",
	fault.NoState:         "switch the box off and on; if it stays so, replace the storage",
	fault.StateInUse:      "put the stick in again after a minute",
	fault.StateDamaged:    "hold the box's button for 10 seconds to reset it, and put the stick in again; if this comes back, replace the flash",
	fault.StateNewer:      "or hold the box's button for 10 seconds to reset it, and put the stick in again",
	fault.NoRequest:       "put a PFX on the stick, or make a request on the box's serial console first",
	fault.SettingsInvalid: "put a sealpost.toml on the stick",
}

// Result tells a technician at a PC what became of the stick; a zero time is
// left out.
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

package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	// longestLine is the most that one answer may have, in bytes.
	longestLine = 4 << 10
	// idleTime is how long without input until the session ends.
	idleTime = 15 * time.Minute
)

// How the waiting for an answer ends without one.
var (
	errBack = errors.New("the technician wants back")
	errIdle = errors.New("nobody typed anything")
	// ErrGone is returned where the line cannot be read or written any more.
	ErrGone = errors.New("the serial line is gone")
)

// Keys that mean something; the rest of the control characters are noise.
const (
	keyInterrupt = 0x03 // Ctrl-C
	keyEnd       = 0x04 // Ctrl-D
	keyBackspace = 0x08
	keyEnter     = '\n'
	keyClear     = 0x15 // Ctrl-U
	keyEscape    = 0x1b
	keyDelete    = 0x7f
)

// terminal is the line discipline: it turns what comes over a line into
// answers, and words into lines.
type terminal struct {
	out     io.Writer
	keys    chan byte // closed when the line cannot be read any more
	closed  chan struct{}
	failed  atomic.Bool // a write did
	afterCR bool
	escape  escape
}

// escape is how far into a terminal's control sequence (ECMA-48 section 5.4)
// the keys are, such as an arrow key's.
type escape int

const (
	noEscape escape = iota
	introduced
	inSequence
)

// newTerminal reads the line until it fails; the caller closes the line after
// the terminal.
func newTerminal(line io.ReadWriter) *terminal {
	const ahead = 4096
	t := &terminal{out: line, keys: make(chan byte, ahead), closed: make(chan struct{})}
	go t.read(line)
	return t
}

// Close stops taking what the line says.
func (t *terminal) Close() { close(t.closed) }

func (t *terminal) read(line io.Reader) {
	defer close(t.keys)
	const some = 1024
	for buffer := make([]byte, some); ; {
		n, err := line.Read(buffer)
		for _, b := range buffer[:n] {
			select {
			case t.keys <- b:
			case <-t.closed:
				return
			}
		}
		clear(buffer[:n]) // it may have been a password
		if err != nil {
			return
		}
	}
}

// Print writes words as they are.
func (t *terminal) Print(words string) {
	if _, err := io.WriteString(t.out, strings.ReplaceAll(words, "\n", "\r\n")); err != nil {
		t.failed.Store(true)
	}
}

// Say writes words as lines of a width that every terminal shows.
func (t *terminal) Say(format string, args ...any) { t.hang("", ascii(fmt.Sprintf(format, args...))) }

// Item writes words behind a label.
func (t *terminal) Item(label, words string) {
	const width = 15
	first := true
	for line := range strings.SplitSeq(ascii(words), "\n") {
		head := ""
		if first {
			head = ascii(label)
		}
		first = false
		t.hang(strings.Repeat(" ", width), fmt.Sprintf("%-*s%s", width, head, line))
	}
}

func (t *terminal) hang(indent, words string) {
	for _, line := range wrap(words, indent) {
		t.Print(strings.TrimRight(line, " ") + "\n")
	}
}

// byteWithin returns the next byte as it comes.
func (t *terminal) byteWithin(ctx context.Context, timeout time.Duration) (byte, error) {
	if t.failed.Load() {
		return 0, ErrGone
	}
	var b byte
	more := true
	select {
	case b, more = <-t.keys: // mostly there already, in a paste
	default:
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case b, more = <-t.keys:
		case <-timer.C:
			return 0, errIdle
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if !more {
		return 0, ErrGone
	}
	return b, nil
}

// key returns the next key that means something: one of the keys above, a tab or
// a byte of text.
func (t *terminal) key(ctx context.Context, timeout time.Duration) (byte, error) {
	for {
		b, err := t.byteWithin(ctx, timeout)
		if err != nil {
			return 0, err
		}
		afterCR := t.afterCR
		t.afterCR = b == '\r'
		switch {
		case t.inEscape(b) || afterCR && b == '\n':
		case b == '\r':
			return keyEnter, nil
		case b == keyDelete:
			return keyBackspace, nil
		case b >= ' ', b == '\t', b == keyEnter, b == keyInterrupt, b == keyEnd, b == keyBackspace, b == keyClear:
			return b, nil
		}
	}
}

// inEscape reports whether a byte belongs to a control sequence.
func (t *terminal) inEscape(b byte) bool {
	switch {
	case b == keyEscape:
		t.escape = introduced
	case b < ' ':
		t.escape = noEscape
		return false
	case t.escape == noEscape:
		return false
	case t.escape == introduced && (b == '[' || b == 'O'):
		t.escape = inSequence
	case t.escape == introduced || b >= '@':
		t.escape = noEscape
	}
	return true
}

// invalidInput is an answer that cannot be used, in words for its author.
type invalidInput string

func (u invalidInput) Error() string { return string(u) }

// Line reads one answer, and shows it as it is typed.
func (t *terminal) Line(ctx context.Context) (string, error) { return t.edit(ctx, t.Print) }

// Secret reads one answer, and shows nothing.
func (t *terminal) Secret(ctx context.Context) (string, error) {
	return t.edit(ctx, func(string) {})
}

// edit reads a line. What is longer than a line may be is neither kept nor
// shown.
func (t *terminal) edit(ctx context.Context, show func(string)) (string, error) {
	line := make([]byte, 0, longestLine)
	defer func() { clear(line) }()
	long := false
	for {
		k, err := t.key(ctx, idleTime)
		if err != nil {
			return "", err
		}
		switch {
		case k == keyEnter:
			t.Print("\n")
			return answer(line, long)
		case k == keyInterrupt || k == keyEnd:
			return "", t.interrupted(ctx)
		case k == keyClear:
			show(strings.Repeat("\b \b", utf8.RuneCount(line)))
			line, long = line[:0], false
		case k == keyBackspace && len(line) > 0:
			_, size := utf8.DecodeLastRune(line)
			line = line[:len(line)-size]
			show("\b \b")
		case k < ' ':
		case len(line) == longestLine:
			long = true
		default:
			line = append(line, k)
			show(string(line[len(line)-1:]))
		}
	}
}

// interrupted drops what comes behind Ctrl-C until the line is quiet, such as
// the rest of a paste.
func (t *terminal) interrupted(ctx context.Context) error {
	const quiet, longest = 200 * time.Millisecond, 5 * time.Second
	for begun := time.Now(); time.Since(begun) < longest; {
		if _, err := t.byteWithin(ctx, quiet); errors.Is(err, errIdle) {
			break
		} else if err != nil {
			return err
		}
	}
	t.Print("^C\n")
	return errBack
}

func answer(line []byte, long bool) (string, error) {
	switch {
	case long:
		return "", invalidInput(fmt.Sprintf("That line has more than %d characters and was not taken. Type it shorter.", longestLine))
	case !utf8.Valid(line):
		return "", invalidInput("That line holds characters that are not UTF-8. Use plain letters, or set the terminal program to UTF-8.")
	}
	return strings.TrimSpace(string(line)), nil
}

// During has something done that takes time, and drops what is typed
// while it runs; Ctrl-C and a lost line cancel it.
func (t *terminal) During(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watching, stopped := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		const forever = time.Duration(1<<63 - 1)
		for {
			b, err := t.byteWithin(watching, forever)
			switch {
			case watching.Err() != nil:
				return
			case err != nil:
				cancel(err)
				return
			case b == keyInterrupt || b == keyEnd:
				cancel(errBack)
				return
			}
		}
	}()
	err := do(ctx)
	stopped()
	<-ended
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// Pause waits and discards what is typed during the wait.
func (t *terminal) Pause(ctx context.Context, d time.Duration) error {
	return t.During(ctx, func(ctx context.Context) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

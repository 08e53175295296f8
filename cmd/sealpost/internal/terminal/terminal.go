// Package terminal is the side of a terminal at which the program is: it reads secrets
// from one without echo, from standard input and from files, and runs a dialogue on a
// serial line.
//
// It must not know what a secret is for, or what is said on the line.
package terminal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"sealpost/cmd/sealpost/internal/wire"
)

// limit is the longest secret, in bytes.
const limit = 4096

// Command is a command that runs.
type Command interface {
	Context() context.Context
	InOrStdin() io.Reader
	ErrOrStderr() io.Writer
}

// Password reads the first line of a file, asks on a terminal without echo, or reads
// the first line of standard input.
func Password(c Command, prompt, path string) (string, error) {
	if path != "" {
		return firstLine(path)
	}
	if fd, is := interactive(c); is {
		return ask(c, prompt, fd)
	}
	line, err := bufio.NewReader(io.LimitReader(c.InOrStdin(), limit)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading standard input: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// NewPassword is Password for a password that is to be stored: on a terminal it asks
// twice, because the password is not shown.
func NewPassword(c Command, prompt, path string) (string, error) {
	password, err := Password(c, prompt, path)
	fd, is := interactive(c)
	if err != nil || path != "" || !is {
		return password, err
	}
	repeated, err := ask(c, "The same again", fd)
	if err == nil && repeated != password {
		err = errors.New("the two are different: nothing was changed; try again")
	}
	return password, err
}

func firstLine(path string) (string, error) {
	data, err := wire.ReadFile(path, limit)
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return "", fmt.Errorf("%s is written in UTF-16: save it as UTF-8", path)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return strings.TrimSuffix(string(line), "\r"), err
}

// interactive returns the terminal that a command reads, if it does.
func interactive(c Command) (fd int, is bool) {
	file, is := c.InOrStdin().(*os.File)
	if !is || !term.IsTerminal(int(file.Fd())) {
		return 0, false
	}
	return int(file.Fd()), true
}

// ask asks without echo and restores the terminal even if interrupted.
func ask(c Command, prompt string, fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("asking for a password: %w", err)
	}
	defer func() { _ = term.Restore(fd, before) }()
	ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Fprintf(c.ErrOrStderr(), "%s: ", prompt)
	defer fmt.Fprintln(c.ErrOrStderr())
	type input struct {
		password []byte
		err      error
	}
	typed := make(chan input, 1)
	go func() {
		password, err := term.ReadPassword(fd)
		typed <- input{password, err}
	}()
	select {
	case in := <-typed:
		if in.err != nil {
			return "", fmt.Errorf("asking for a password: %w", in.err)
		}
		return string(in.password), nil
	case <-ctx.Done():
		return "", errors.New("interrupted: nothing was changed")
	}
}

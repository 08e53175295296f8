package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"sealpost/cmd/sealpost/internal/wire"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// passwordLimit is the longest password, in bytes.
const passwordLimit = 4096

// readPassword reads the first line of a file, asks on a terminal without
// echo, or reads the first line of standard input.
func readPassword(c *cobra.Command, prompt, path string) (string, error) {
	if path != "" {
		data, err := wire.ReadFile(path, passwordLimit)
		if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
			return "", fmt.Errorf("%s is written in UTF-16: save it as UTF-8", path)
		}
		data = bytes.TrimPrefix(data, []byte("\ufeff"))
		line, _, _ := bytes.Cut(data, []byte("\n"))
		return strings.TrimSuffix(string(line), "\r"), err
	}
	if file, ok := c.InOrStdin().(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return askPassword(c, prompt, int(file.Fd()))
	}
	line, err := bufio.NewReader(io.LimitReader(c.InOrStdin(), passwordLimit)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading standard input: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// askPassword asks without echo and restores the terminal even if
// interrupted.
func askPassword(c *cobra.Command, prompt string, fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("asking for a password: %w", err)
	}
	defer func() { _ = term.Restore(fd, before) }()
	ctx, stop := untilStopped(c.Context())
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

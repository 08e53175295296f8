// Command manual writes a manual page for each command of a program, from the texts
// that it prints for --help. The program itself carries no generator.
package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	program := flag.String("program", "", "the `file` of the program, for this machine")
	dir := flag.String("dir", ".", "the `folder` for the pages")
	date := flag.String("date", "", "the `date` on the pages")
	flag.Parse()
	if err := write(*program, *dir, *date, nil); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

// write writes the page of the command that path names, and those below it.
func write(program, dir, date string, path []string) error {
	help, err := exec.Command(program, append(path, "--help")...).Output()
	if err != nil {
		return fmt.Errorf("asking for the help of %q: %w", strings.Join(path, " "), err)
	}
	p := parse(string(help))
	name := strings.Join(append([]string{filepath.Base(p.name())}, path...), "-")
	var page bytes.Buffer
	// The time in gzip's header stays zero, so that two builds are alike.
	w, _ := gzip.NewWriterLevel(&page, gzip.BestCompression)
	_, _ = w.Write([]byte(p.roff(name, date)))
	if err := w.Close(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".1.gz"), page.Bytes(), 0o644); err != nil {
		return err
	}
	for _, c := range p.commands {
		if c.name == "help" || c.name == "completion" {
			continue
		}
		if err := write(program, dir, date, append(path[:len(path):len(path)], c.name)); err != nil {
			return err
		}
	}
	return nil
}

// entry is a line of a list: a command or a flag, with its meaning.
type entry struct{ name, text string }

// page is the content of a help text.
type page struct {
	about                  []string
	usage                  []string
	commands, own, general []entry
}

// parse reads a help text of cobra.
func parse(help string) page {
	var p page
	section := "about"
	for line := range strings.SplitSeq(help, "\n") {
		switch strings.TrimSpace(line) {
		case "Usage:", "Available Commands:", "Flags:", "Global Flags:":
			section = strings.TrimSpace(line)
			continue
		}
		if strings.HasPrefix(line, "Use \"") {
			continue
		}
		text := strings.TrimSpace(line)
		if text == "" && section != "about" {
			continue
		}
		switch section {
		case "about":
			p.about = append(p.about, text)
		case "Usage:":
			p.usage = append(p.usage, text)
		default:
			separator := "  "
			if section == "Available Commands:" {
				separator = " "
			}
			name, meaning, _ := strings.Cut(text, separator)
			e := entry{name, strings.TrimSpace(meaning)}
			switch section {
			case "Available Commands:":
				p.commands = append(p.commands, e)
			case "Flags:":
				p.own = append(p.own, e)
			case "Global Flags:":
				p.general = append(p.general, e)
			}
		}
	}
	return p
}

// name returns the first word of the usage, the program's name.
func (p page) name() string {
	for _, line := range p.usage {
		return strings.Fields(line)[0]
	}
	return ""
}

// roff returns the page in the man macros.
func (p page) roff(name, date string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %q 1 %q \"Sealpost\" \"Sealpost\"\n", escape(strings.ToUpper(name)), escape(date))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escape(name), escape(p.about[0]))
	b.WriteString(".SH SYNOPSIS\n.nf\n")
	for _, line := range p.usage {
		b.WriteString(escape(line) + "\n")
	}
	b.WriteString(".fi\n")
	if rest := strings.TrimSpace(strings.Join(p.about[1:], "\n")); rest != "" {
		b.WriteString(".SH DESCRIPTION\n")
		for line := range strings.SplitSeq(rest, "\n") {
			if line == "" {
				b.WriteString(".PP\n")
				continue
			}
			b.WriteString(escape(line) + "\n")
		}
	}
	list(&b, "COMMANDS", p.commands)
	list(&b, "OPTIONS", p.own)
	list(&b, "OPTIONS OF ALL COMMANDS", p.general)
	b.WriteString(".SH FILES\n.TP\n/etc/sealpost/sealpost.toml\nthe settings of the packaged relay\n" +
		".TP\n/var/lib/sealpost\nits keys and its queued mail\n" +
		".SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage\n")
	return b.String()
}

func list(b *strings.Builder, title string, entries []entry) {
	if len(entries) == 0 {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", title)
	for _, e := range entries {
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", escape(e.name), escape(e.text))
	}
}

// escape keeps roff from reading a text as its own commands.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}

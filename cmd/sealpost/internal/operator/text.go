package operator

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
	"rsc.io/qr"
)

// Count returns a number with its noun, such as "1 message" or "2 messages".
func Count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// UsesUTF8 checks the locale variables in POSIX order.
func UsesUTF8(environment func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToUpper(environment(name)); locale != "" {
			return strings.HasSuffix(locale, "UTF-8") || strings.HasSuffix(locale, "UTF8")
		}
	}
	return false
}

// ShowsBlocks reports whether out is a terminal that can show a QR code in block characters.
func ShowsBlocks(out io.Writer) bool {
	file, isFile := out.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd())) && UsesUTF8(os.Getenv)
}

// QRCode returns a QR code in half blocks, two modules per character; empty if the
// text is too long for one.
func QRCode(text string) string {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return ""
	}
	const margin = 4 // modules of quiet zone (ISO/IEC 18004)
	var b strings.Builder
	for y := -margin; y < code.Size+margin; y += 2 {
		b.WriteString("\x1b[30;107m") // black on white, whatever the terminal's colours
		for x := -margin; x < code.Size+margin; x++ {
			b.WriteRune([]rune(" ▄▀█")[2*dark(code, x, y)+dark(code, x, y+1)])
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String() + "\n"
}

func dark(code *qr.Code, x, y int) int {
	if code.Black(x, y) {
		return 1
	}
	return 0
}

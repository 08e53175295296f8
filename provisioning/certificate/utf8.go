package certificate

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
)

// UTF8 returns a text as UTF-8 without byte order marks. Windows writes them, also
// within a text that was put together from several files, and PowerShell writes
// UTF-16.
func UTF8(text []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(text, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(text, []byte("\xfe\xff")):
		order = binary.BigEndian
	default:
		return bytes.ReplaceAll(text, []byte("\xef\xbb\xbf"), nil)
	}
	units := make([]uint16, 0, len(text)/2)
	for rest := text[2:]; len(rest) >= 2; rest = rest[2:] {
		units = append(units, order.Uint16(rest))
	}
	return []byte(string(utf16.Decode(units)))
}

package parts_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"sealpost/tests/rigs/parts"
)

// getRandom is a TPM2_GetRandom command for four bytes.
var getRandom = []byte{0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 4}

// exchange sends a command and returns the response.
func exchange(t *testing.T, s *parts.Swtpm, command []byte) []byte {
	t.Helper()
	network, target, _ := strings.Cut(s.Address(), ":")
	conn, err := net.Dial(network, target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(command); err != nil {
		t.Fatal(err)
	}
	header := make([]byte, 10)
	if _, err := io.ReadFull(conn, header); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, binary.BigEndian.Uint32(header[2:6])-10)
	if _, err := io.ReadFull(conn, rest); err != nil {
		t.Fatal(err)
	}
	return append(header, rest...)
}

func TestSwtpm_RespondsAfterReconnectRestartAndClear(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *parts.Swtpm{
		"unix": parts.StartSwtpm, "tcp": parts.StartSwtpmTCP,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			if !strings.HasPrefix(s.Address(), name+":") {
				t.Errorf("got address %q, want prefix %s:", s.Address(), name)
			}
			steps := []struct {
				name string
				do   func() error
			}{
				{"first connection", func() error { return nil }},
				{"second connection", func() error { return nil }},
				{"stop", s.Stop}, {"start", s.Start}, {"clear", s.Clear},
			}
			for _, step := range steps {
				if err := step.do(); err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				if step.name == "stop" {
					continue
				}
				response := exchange(t, s, getRandom)
				if !bytes.Equal(response[6:10], []byte{0, 0, 0, 0}) {
					t.Errorf("%s: got response %x, want success", step.name, response)
				}
			}
		})
	}
}

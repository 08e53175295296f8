package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const diskSize = 64 * SectorSize

// client is a minimal NBD client.
type client struct {
	t    *testing.T
	conn net.Conn
}

func serve(t *testing.T, seed uint64) *Server {
	t.Helper()
	s, err := Serve(NewFlash(diskSize, seed), filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func dial(t *testing.T, s *Server) *client {
	t.Helper()
	conn, err := net.Dial("unix", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	c := &client{t, conn}
	c.read(18)
	c.send(uint32(fixedNewstyle | noZeroes))
	return c
}

func (c *client) send(values ...any) {
	c.t.Helper()
	for _, value := range values {
		if err := binary.Write(c.conn, binary.BigEndian, value); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *client) read(n int) []byte {
	c.t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c.conn, p); err != nil {
		c.t.Fatal(err)
	}
	return p
}

// sendOption sends an option and returns the kind of each reply up to the last one.
func (c *client) sendOption(option uint32, data []byte) (kinds []uint32) {
	c.t.Helper()
	c.send(uint64(optionMagic), option, uint32(len(data)), data)
	for {
		head := c.read(20)
		c.read(int(binary.BigEndian.Uint32(head[16:])))
		kind := binary.BigEndian.Uint32(head[12:])
		kinds = append(kinds, kind)
		if kind != replyInfo {
			return kinds
		}
	}
}

// connect is dial, ready for commands.
func connect(t *testing.T, s *Server) *client {
	t.Helper()
	c := dial(t, s)
	if kinds := c.sendOption(optionGo, make([]byte, 6)); kinds[len(kinds)-1] != replyAck {
		t.Fatalf("got replies %x, want the last to be %x", kinds, replyAck)
	}
	return c
}

func (c *client) command(kind, flags uint16, offset uint64, length uint32, data []byte) syscall.Errno {
	c.t.Helper()
	c.send(uint32(requestMagic), flags, kind, uint64(7), offset, length, data)
	head := c.read(16)
	if binary.BigEndian.Uint32(head) != simpleReplyMagic || binary.BigEndian.Uint64(head[8:]) != 7 {
		c.t.Fatalf("got reply %x, want magic %x and handle 7", head, simpleReplyMagic)
	}
	return syscall.Errno(binary.BigEndian.Uint32(head[4:]))
}

func (c *client) write(flags uint16, sector uint64, letter string, sectors int) syscall.Errno {
	c.t.Helper()
	data := bytes.Repeat([]byte(letter), sectors*SectorSize)
	return c.command(commandWrite, flags, sector*SectorSize, uint32(len(data)), data)
}

func (c *client) flush() syscall.Errno {
	c.t.Helper()
	return c.command(commandFlush, 0, 0, 0, nil)
}

// initials returns the first byte of each sector, with a dot for zero.
func (c *client) initials() string {
	c.t.Helper()
	if code := c.command(commandRead, 0, 0, diskSize, nil); code != 0 {
		c.t.Fatalf("got %v, want %v", code, 0)
	}
	content := c.read(diskSize)
	var s []byte
	for n := 0; n < diskSize; n += SectorSize {
		sector := content[n : n+SectorSize]
		if !bytes.Equal(sector, bytes.Repeat(sector[:1], SectorSize)) {
			c.t.Errorf("sector %d is partly written", n/SectorSize)
		}
		s = append(s, max(sector[0], '.'))
	}
	return string(s)
}

func expect(t *testing.T, got, want syscall.Errno) {
	t.Helper()
	if got != want {
		t.Errorf("got %d (%v), want %d", got, got, want)
	}
}

func TestServer_ReturnsWhatWasWritten(t *testing.T) {
	s := serve(t, 1)
	c := connect(t, s)
	expect(t, c.write(0, 3, "a", 2), 0)
	expect(t, c.flush(), 0)
	expect(t, c.write(0, 4, "b", 1), 0)
	if got := c.initials()[:6]; got != "...ab." {
		t.Errorf("got sectors %s, want ...ab.", got)
	}
	if got := s.Flash.Counts(); got != (Counts{Reads: 1, Writes: 2, Flushes: 1, Bytes: 3 * SectorSize}) {
		t.Errorf("got counts %+v, want 1 read, 2 writes, 1 flush, 3 sectors", got)
	}
}

func TestServer_SupportsExportName(t *testing.T) {
	c := dial(t, serve(t, 1))
	const structuredReplies = 8
	if kinds := c.sendOption(structuredReplies, nil); kinds[0] != replyUnsupported {
		t.Errorf("got replies %x, want %x first", kinds, replyUnsupported)
	}
	c.sendOption(optionInfo, make([]byte, 6))
	c.send(uint64(optionMagic), uint32(optionExportName), uint32(5), []byte("state"))
	if size := binary.BigEndian.Uint64(c.read(10)); size != diskSize {
		t.Errorf("got size %d, want %d", size, diskSize)
	}
	expect(t, c.flush(), 0)
}

func TestCut_KeepsAnySubsetOfUnflushedSectors(t *testing.T) {
	s := serve(t, 1)
	c := connect(t, s)
	expect(t, c.write(0, 0, "a", 64), 0)
	expect(t, c.flush(), 0)
	expect(t, c.write(0, 0, "b", 32), 0)
	expect(t, c.write(0, 0, "c", 32), 0)
	expect(t, c.write(commandFUA, 40, "d", 4), 0)
	s.Cut()
	left := connect(t, s).initials()
	for _, letter := range "abc" {
		if !bytes.ContainsRune([]byte(left[:32]), letter) {
			t.Errorf("got sectors %s, want some with %c", left, letter)
		}
	}
	if left[32:] != "aaaaaaaadddd"+string(bytes.Repeat([]byte("a"), 20)) {
		t.Errorf("got sectors %s, want all durable ones", left)
	}
	if _, err := c.conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open after the cut")
	}
}

func TestCut_IsReproducibleFromTheSeed(t *testing.T) {
	run := func(seed uint64) string {
		s := serve(t, seed)
		expect(t, connect(t, s).write(0, 0, "a", 64), 0)
		s.Cut()
		return connect(t, s).initials()
	}
	if first, repeated := run(7), run(7); first != repeated {
		t.Errorf("the same seed gave different results:\n%s\n%s", first, repeated)
	}
	if run(7) == run(8) {
		t.Error("different seeds gave the same result")
	}
}

func TestFlash_FailsChosenWritesAndFlushes(t *testing.T) {
	s := serve(t, 1)
	c := connect(t, s)
	s.Flash.FailWrites(1)
	expect(t, c.write(0, 0, "a", 64), syscall.EIO)
	if got := c.initials(); !bytes.Contains([]byte(got), []byte("a")) || !bytes.Contains([]byte(got), []byte(".")) {
		t.Errorf("after a failed write: got sectors %s, want some written and some not", got)
	}
	expect(t, c.write(0, 0, "b", 1), 0)
	s.Flash.FailFlushes(2)
	expect(t, c.flush(), syscall.EIO)
	expect(t, c.write(commandFUA, 0, "b", 1), syscall.EIO)
	expect(t, c.flush(), 0)
	s.Flash.FailWrites(Always)
	for range 5 {
		expect(t, c.write(0, 0, "c", 1), syscall.EIO)
	}
	s.Flash.FailWrites(0)
	expect(t, c.write(0, 0, "c", 1), 0)
	s.Flash.WearOut()
	expect(t, c.write(0, 0, "d", 1), syscall.EPERM)
	if got := c.initials(); got[0] != 'c' {
		t.Errorf("worn-out flash: got sectors %s, want c first", got)
	}
}

func TestServer_RejectsInvalidCommands(t *testing.T) {
	c := connect(t, serve(t, 1))
	expect(t, c.command(commandRead, 0, diskSize, 1, nil), syscall.EINVAL)
	expect(t, c.command(commandRead, 0, 1<<63, 1, nil), syscall.EINVAL)
	expect(t, c.write(0, 63, "a", 2), syscall.EINVAL)
	const trim = 4
	expect(t, c.command(trim, 0, 0, 1, nil), syscall.EINVAL)
	c.send(uint32(requestMagic), uint16(0), uint16(commandRead), uint64(7), uint64(0), uint32(transferLimit+1))
	if _, err := c.conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("excessive length: got %v, want EOF", err)
	}
}

func FuzzServer(f *testing.F) {
	opening := binary.BigEndian.AppendUint32(nil, fixedNewstyle)
	opening = binary.BigEndian.AppendUint64(opening, optionMagic)
	opening = binary.BigEndian.AppendUint32(opening, optionGo)
	opening = binary.BigEndian.AppendUint32(opening, 0)
	for _, kind := range []uint16{commandRead, commandWrite, commandFlush, commandDisconnect} {
		command := binary.BigEndian.AppendUint32(bytes.Clone(opening), requestMagic)
		command = binary.BigEndian.AppendUint16(command, commandFUA)
		command = binary.BigEndian.AppendUint16(command, kind)
		command = append(command, make([]byte, 16)...)
		f.Add(append(binary.BigEndian.AppendUint32(command, 4), "abcd"...))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		flash := NewFlash(diskSize, 1)
		input = append(input, 0)
		conversation := struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(input), io.Discard}
		err := negotiate(conversation, flash.Size())
		for err == nil {
			err = transmit(conversation, flash)
		}
		if flash.Counts().Bytes > int64(len(input)) {
			t.Errorf("got %d bytes written from %d bytes of input", flash.Counts().Bytes, len(input))
		}
	})
}

package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"
)

// Constants of proto.md.
const (
	magic            = 0x4e42444d41474943 // "NBDMAGIC"
	optionMagic      = 0x49484156454f5054 // "IHAVEOPT"
	optionReplyMagic = 0x3e889045565a9
	requestMagic     = 0x25609513
	simpleReplyMagic = 0x67446698

	fixedNewstyle, noZeroes = 1, 2 // handshake flags

	optionExportName, optionAbort, optionInfo, optionGo = 1, 2, 6, 7

	replyAck, replyInfo, replyUnsupported = 1, 3, 1<<31 + 1

	infoExport, infoBlockSize = 0, 3

	// transmission flags: HAS_FLAGS, SEND_FLUSH, SEND_FUA
	transmissionFlags = 1 | 1<<2 | 1<<3

	commandRead, commandWrite, commandDisconnect, commandFlush = 0, 1, 2, 3

	commandFUA = 1 // a command flag
)

const (
	optionLimit        = 4096     // bytes that a client may send with an option
	transferLimit      = 32 << 20 // bytes in one read or write
	preferredBlockSize = 4096     // in bytes
)

// negotiate does the handshake up to the transmission phase. Every export name
// selects the same flash.
func negotiate(rw io.ReadWriter, size int64) error {
	hello := binary.BigEndian.AppendUint64(nil, magic)
	hello = binary.BigEndian.AppendUint64(hello, optionMagic)
	hello = binary.BigEndian.AppendUint16(hello, fixedNewstyle|noZeroes)
	if _, err := rw.Write(hello); err != nil {
		return err
	}
	var flags uint32
	if err := binary.Read(rw, binary.BigEndian, &flags); err != nil {
		return err
	}
	for {
		option, err := readOption(rw)
		if err != nil {
			return err
		}
		switch option {
		case optionExportName:
			return sendExport(rw, size, flags&noZeroes != 0)
		case optionGo:
			return sendInfo(rw, option, size)
		case optionInfo:
			err = sendInfo(rw, option, size)
		case optionAbort:
			return errors.Join(sendOptionReply(rw, option, replyAck, nil), errEnd)
		default:
			err = sendOptionReply(rw, option, replyUnsupported, nil)
		}
		if err != nil {
			return err
		}
	}
}

// readOption reads an option and skips its data.
func readOption(r io.Reader) (uint32, error) {
	var head struct {
		Magic          uint64
		Option, Length uint32
	}
	if err := binary.Read(r, binary.BigEndian, &head); err != nil {
		return 0, err
	}
	if head.Magic != optionMagic || head.Length > optionLimit {
		return 0, fmt.Errorf("not an option: %+v", head)
	}
	_, err := io.CopyN(io.Discard, r, int64(head.Length))
	return head.Option, err
}

func sendOptionReply(w io.Writer, option, kind uint32, data []byte) error {
	reply := binary.BigEndian.AppendUint64(nil, optionReplyMagic)
	reply = binary.BigEndian.AppendUint32(reply, option)
	reply = binary.BigEndian.AppendUint32(reply, kind)
	reply = binary.BigEndian.AppendUint32(reply, uint32(len(data)))
	_, err := w.Write(append(reply, data...))
	return err
}

func sendInfo(w io.Writer, option uint32, size int64) error {
	export := binary.BigEndian.AppendUint16(nil, infoExport)
	export = binary.BigEndian.AppendUint64(export, uint64(size))
	export = binary.BigEndian.AppendUint16(export, transmissionFlags)
	blocks := binary.BigEndian.AppendUint16(nil, infoBlockSize)
	for _, bytes := range []uint32{SectorSize, preferredBlockSize, transferLimit} {
		blocks = binary.BigEndian.AppendUint32(blocks, bytes)
	}
	return errors.Join(sendOptionReply(w, option, replyInfo, export), sendOptionReply(w, option, replyInfo, blocks),
		sendOptionReply(w, option, replyAck, nil))
}

// sendExport sends the reply to NBD_OPT_EXPORT_NAME, which has its own format.
func sendExport(w io.Writer, size int64, withoutZeroes bool) error {
	export := binary.BigEndian.AppendUint64(nil, uint64(size))
	export = binary.BigEndian.AppendUint16(export, transmissionFlags)
	if !withoutZeroes {
		const zeroes = 124
		export = append(export, make([]byte, zeroes)...)
	}
	_, err := w.Write(export)
	return err
}

// request is struct nbd_request.
type request struct {
	Magic       uint32
	Flags, Type uint16
	Handle      uint64
	Offset      uint64
	Length      uint32
}

// transmit executes one command. An error ends the connection.
func transmit(rw io.ReadWriter, flash *Flash) error {
	var r request
	if err := binary.Read(rw, binary.BigEndian, &r); err != nil {
		return err
	}
	if r.Magic != requestMagic {
		return fmt.Errorf("not a command: %+v", r)
	}
	if (r.Type == commandRead || r.Type == commandWrite) && r.Length > transferLimit {
		return fmt.Errorf("%d bytes in one command, the limit is %d", r.Length, transferLimit)
	}
	var data []byte
	var failure error
	switch r.Type {
	case commandRead:
		data = make([]byte, r.Length)
		_, failure = flash.ReadAt(data, int64(r.Offset))
	case commandWrite:
		data := make([]byte, r.Length)
		if _, err := io.ReadFull(rw, data); err != nil {
			return err
		}
		failure = write(flash, r, data)
	case commandFlush:
		failure = flash.Flush()
	case commandDisconnect:
		return errEnd
	default:
		failure = syscall.EINVAL
	}
	return reply(rw, r.Handle, failure, data)
}

func write(flash *Flash, r request, data []byte) error {
	_, err := flash.WriteAt(data, int64(r.Offset))
	if err == nil && r.Flags&commandFUA != 0 {
		err = flash.flush(int64(r.Offset), int64(r.Length))
	}
	return err
}

// reply sends the reply to a command; after a failure it has no data.
func reply(w io.Writer, handle uint64, failure error, data []byte) error {
	var code syscall.Errno
	if failure != nil && !errors.As(failure, &code) {
		code = syscall.EIO
	}
	message := binary.BigEndian.AppendUint32(nil, simpleReplyMagic)
	message = binary.BigEndian.AppendUint32(message, uint32(code))
	message = binary.BigEndian.AppendUint64(message, handle)
	if code == 0 {
		message = append(message, data...)
	}
	_, err := w.Write(message)
	return err
}

package parts

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// NTP is a time server (RFC 5905) with an adjustable offset. A real one would need
// the machine's clock to be wrong.
type NTP struct {
	conn   net.PacketConn
	offset atomic.Int64 // nanoseconds

	answered atomic.Int64
}

// NewNTP starts a time server at a UDP address, such as "127.0.0.1:123".
func NewNTP(address string) (*NTP, error) {
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, fmt.Errorf("starting the time server: %w", err)
	}
	return ServeNTP(conn), nil
}

// ServeNTP starts a time server on conn. Close closes conn.
func ServeNTP(conn net.PacketConn) *NTP {
	n := &NTP{conn: conn}
	go n.serve()
	return n
}

// SetOffset sets the offset that is added to the time.
func (n *NTP) SetOffset(offset time.Duration) { n.offset.Store(int64(offset)) }

// Answered returns how many requests it has answered.
func (n *NTP) Answered() int64 { return n.answered.Load() }

// Close stops the server.
func (n *NTP) Close() error { return n.conn.Close() }

// serve replies to requests as in section 7.3 of RFC 5905.
func (n *NTP) serve() {
	packet := make([]byte, 1024)
	for {
		size, from, err := n.conn.ReadFrom(packet)
		if err != nil {
			return
		}
		const header = 48
		if size < header {
			continue
		}
		now := ntpTime(time.Now().Add(time.Duration(n.offset.Load())))
		response := make([]byte, header)
		response[0] = 4<<3 | 4 // version 4, server
		response[1] = 1        // stratum: a primary server
		response[2] = 6        // poll every 64 s
		response[3] = 0xec     // precision: a microsecond
		copy(response[12:], "GPS\x00")
		binary.BigEndian.PutUint64(response[16:], now)
		copy(response[24:32], packet[40:48]) // the client's transmit time
		binary.BigEndian.PutUint64(response[32:], now)
		binary.BigEndian.PutUint64(response[40:], now)
		_, _ = n.conn.WriteTo(response, from)
		n.answered.Add(1)
	}
}

// ntpTime converts a time to seconds since 1900, with a fraction of 32 bits.
func ntpTime(t time.Time) uint64 {
	const from1900To1970 = 2208988800
	return uint64(t.Unix()+from1900To1970)<<32 | uint64(t.Nanosecond())<<32/1e9
}

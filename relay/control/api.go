package control

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"sealpost/relay/device"
	"sealpost/relay/dispatch"
	"sealpost/relay/envelope"
	"sealpost/relay/policy"
	"sealpost/relay/queue"
	"sealpost/relay/spool"
)

// Relay is the interface of a relay: a running one, through [Client], or the
// state of a stopped one.
type Relay interface {
	// Health returns an error if the relay does not work.
	Health(ctx context.Context) error
	// Status returns the state of the upstream and the queue.
	Status(ctx context.Context) (dispatch.Status, error)
	// Messages returns the queued messages, oldest first. Without a queue there
	// are none, and Status reports the reason.
	Messages(ctx context.Context) iter.Seq2[queue.Item, error]
	// Show returns one message with its header.
	Show(ctx context.Context, id string) (Message, error)
	// Retry makes a message due now, or every message if id is empty.
	Retry(ctx context.Context, id string) (Done, error)
	// Drop removes a message without notifying its sender.
	Drop(ctx context.Context, id string) (Done, error)
	// SpoolStat returns how full the spool is.
	SpoolStat(ctx context.Context) (spool.Stat, error)
	// Devices returns the devices that the relay has seen, the last ones first.
	Devices(ctx context.Context) iter.Seq2[Device, error]
	// LearnMode returns learn mode; the zero LearnMode if it is off.
	LearnMode(ctx context.Context) (LearnMode, error)
	// Learn begins or ends learn mode.
	Learn(ctx context.Context, q LearnMode) (LearnMode, error)
	// Explain decides on a message that a client would send, without sending it.
	Explain(ctx context.Context, q Question) (policy.Decision, error)
	// SpoolVerify reads every message in the spool.
	SpoolVerify(ctx context.Context) (Verification, error)
}

// Message is a queued message with the beginning of its content.
type Message struct {
	queue.Item
	Header string `json:"header"` // printable, at most 64 KiB
}

// Done describes what a call has changed.
type Done struct {
	Done string   `json:"done"`
	ID   string   `json:"id,omitempty"`
	To   []string `json:"to,omitempty"`
}

// Device is a device with what the settings say of it.
type Device struct {
	device.Device
	Name    string `json:"name,omitempty"`
	Allowed bool   `json:"allowed"`
	Rule    string `json:"rule"`    // the setting that decides on that
	Listed  bool   `json:"listed"`  // the settings have a [[device]] for it
	Learned bool   `json:"learned"` // it may send only while learn mode lasts
}

// Title names the device for people.
func (d Device) Title() string {
	switch {
	case d.Name != "":
		return fmt.Sprintf("%s (%s)", d.Name, d.Address)
	case d.Vendor != "":
		return fmt.Sprintf("%s (%s)", d.Vendor, d.Address)
	}
	return d.Address.String()
}

// LearnMode is a time during which everything in some networks may send.
type LearnMode struct {
	// For is how long it lasts, or still lasts; 0 means none, and ends it.
	For time.Duration `json:"for"`
	// Networks are those that are open; none means the box's own subnets.
	Networks []netip.Prefix `json:"networks,omitempty"`
}

// Question is a message that a client would send.
type Question struct {
	Client  netip.Addr         `json:"client"`
	TLS     bool               `json:"tls"`    // the client uses TLS
	User    string             `json:"user"`   // that it logs in as; empty without a login
	From    envelope.Address   `json:"from"`   // sender in MAIL
	To      []envelope.Address `json:"to"`     // recipients in RCPT
	Authors []envelope.Address `json:"author"` // in the field From
}

// Verification is the result of reading the whole spool.
type Verification struct {
	Messages int      `json:"messages"`
	Damages  []string `json:"damages"`
}

// None is an empty request or response.
type None struct{}

// Selection names a message; an empty ID means every message.
type Selection struct {
	ID string `json:"id,omitempty"`
}

// The calls of [Relay].
const (
	callHealth    Call[None, None]                = "health"
	callStatus    Call[None, dispatch.Status]     = "status"
	callQueue     Call[None, queue.Item]          = "queue/list"
	callShow      Call[Selection, Message]        = "queue/show"
	callRetry     Call[Selection, Done]           = "queue/retry"
	callDrop      Call[Selection, Done]           = "queue/drop"
	callStat      Call[None, spool.Stat]          = "spool/stat"
	callVerify    Call[None, Verification]        = "spool/verify"
	callDevices   Call[None, Device]              = "devices"
	callLearnMode Call[None, LearnMode]           = "devices/learnmode"
	callLearn     Call[LearnMode, LearnMode]      = "devices/learn"
	callExplain   Call[Question, policy.Decision] = "explain"
)

// HandleRelay makes the server handle the calls of [Relay].
func HandleRelay(s *Server, r Relay) {
	Handle(s, callHealth, func(ctx context.Context, _ None) (None, error) { return None{}, r.Health(ctx) })
	Handle(s, callStatus, func(ctx context.Context, _ None) (dispatch.Status, error) { return r.Status(ctx) })
	HandleStream(s, callQueue, func(ctx context.Context, _ None) iter.Seq2[queue.Item, error] { return r.Messages(ctx) })
	Handle(s, callShow, func(ctx context.Context, q Selection) (Message, error) { return r.Show(ctx, q.ID) })
	Handle(s, callRetry, func(ctx context.Context, q Selection) (Done, error) { return r.Retry(ctx, q.ID) })
	Handle(s, callDrop, func(ctx context.Context, q Selection) (Done, error) { return r.Drop(ctx, q.ID) })
	Handle(s, callStat, func(ctx context.Context, _ None) (spool.Stat, error) { return r.SpoolStat(ctx) })
	HandleStream(s, callDevices, func(ctx context.Context, _ None) iter.Seq2[Device, error] { return r.Devices(ctx) })
	Handle(s, callLearnMode, func(ctx context.Context, _ None) (LearnMode, error) { return r.LearnMode(ctx) })
	Handle(s, callLearn, r.Learn)
	Handle(s, callExplain, r.Explain)
	Handle(s, callVerify, func(ctx context.Context, _ None) (Verification, error) { return r.SpoolVerify(ctx) })
}

// Client calls the relay on a control socket. Its errors are those of the
// relay, or wrap [ErrNoRelay].
type Client struct{ Socket string }

var _ Relay = Client{}

// Health implements [Relay].
func (c Client) Health(ctx context.Context) error {
	_, err := callHealth.Do(ctx, c.Socket, None{})
	return err
}

// Status implements [Relay].
func (c Client) Status(ctx context.Context) (dispatch.Status, error) {
	return callStatus.Do(ctx, c.Socket, None{})
}

// Messages implements [Relay].
func (c Client) Messages(ctx context.Context) iter.Seq2[queue.Item, error] {
	return callQueue.Stream(ctx, c.Socket, None{})
}

// Show implements [Relay].
func (c Client) Show(ctx context.Context, id string) (Message, error) {
	return callShow.Do(ctx, c.Socket, Selection{id})
}

// Retry implements [Relay].
func (c Client) Retry(ctx context.Context, id string) (Done, error) {
	return callRetry.Do(ctx, c.Socket, Selection{id})
}

// Drop implements [Relay].
func (c Client) Drop(ctx context.Context, id string) (Done, error) {
	return callDrop.Do(ctx, c.Socket, Selection{id})
}

// SpoolStat implements [Relay].
func (c Client) SpoolStat(ctx context.Context) (spool.Stat, error) {
	return callStat.Do(ctx, c.Socket, None{})
}

// SpoolVerify implements [Relay].
func (c Client) SpoolVerify(ctx context.Context) (Verification, error) {
	return callVerify.Do(ctx, c.Socket, None{})
}

// Explain implements [Relay].
func (c Client) Explain(ctx context.Context, q Question) (policy.Decision, error) {
	return callExplain.Do(ctx, c.Socket, q)
}

// Devices implements [Relay].
func (c Client) Devices(ctx context.Context) iter.Seq2[Device, error] {
	return callDevices.Stream(ctx, c.Socket, None{})
}

// LearnMode implements [Relay].
func (c Client) LearnMode(ctx context.Context) (LearnMode, error) {
	return callLearnMode.Do(ctx, c.Socket, None{})
}

// Learn implements [Relay].
func (c Client) Learn(ctx context.Context, q LearnMode) (LearnMode, error) {
	return callLearn.Do(ctx, c.Socket, q)
}

package header

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// onlyOnce are the fields that RFC 5322 section 3.6 allows once, but for From, with what
// a well-formed one is; nil is any.
var onlyOnce = []struct {
	name       string
	wellFormed func(value []byte) bool
}{
	{"date", isDate},
	{"message-id", isMessageID},
	{"subject", nil},
	{"to", isAddressList},
	{"cc", isAddressList},
	{"bcc", nil},
	{"sender", isAddressList},
	{"reply-to", isAddressList},
	{"in-reply-to", nil},
	{"references", nil},
}

var date = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:[A-Za-z]{3}[ \t]*,)?[ \t]*[0-9]{1,2}[ \t]+[A-Za-z]{3}[ \t]+[0-9]{2,4}[ \t]+[0-9]{2}:[0-9]{2}(?::[0-9]{2})?[ \t]+(?:[+-][0-9]{4}|[A-Za-z]+)`)
})

func isDate(value []byte) bool { return date().MatchString(unfolded(value)) }

var messageID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^<[^<>@\s]+@[^<>@\s]+>$`) })

func isMessageID(value []byte) bool { return messageID().MatchString(unfolded(value)) }

func isAddressList(value []byte) bool { return len(addresses(value)) > 0 }

// complete leaves one of each field that may occur once, adds what is missing, and puts
// the author right.
func (h *repair) complete() {
	for _, field := range onlyOnce {
		h.keepOne(field.name, field.wellFormed)
	}
	h.removeEmpty("date")
	h.removeEmpty("message-id")
	if len(h.all("date")) == 0 {
		h.add("Date", h.repairs.Date.Format(time.RFC1123Z))
		h.note(DateAdded)
	}
	h.completeAuthor()
	h.checkSender()
	if h.isWithoutDestination() {
		h.removeEmpty("to")
		h.removeEmpty("cc")
		h.add("To", "undisclosed-recipients:;")
		h.note(DestinationAdded)
	}
	if len(h.all("message-id")) == 0 {
		h.add("Message-ID", "<"+h.repairs.MessageID+">")
		h.note(MessageIDAdded)
	}
}

// keepOne keeps the first well-formed field of a name, or else the first, and sets the
// others aside. It returns the one it keeps, or -1.
func (h *repair) keepOne(name string, wellFormed func([]byte) bool) int {
	all := h.all(name)
	if len(all) == 0 {
		return -1
	}
	kept := all[0]
	if len(all) > 1 && wellFormed != nil {
		if i := slices.IndexFunc(all, func(i int) bool { return wellFormed(h.fields[i].value) }); i >= 0 {
			kept = all[i]
		}
	}
	for _, i := range all {
		if i != kept {
			h.setAside(i)
			h.note(DuplicateRenamed)
		}
	}
	return kept
}

// isWithoutDestination reports whether no field names a destination. An empty Bcc does
// (RFC 5322 section 3.6.3).
func (h *repair) isWithoutDestination() bool {
	return !slices.ContainsFunc(h.fields, func(f headerField) bool {
		return f.lower == "bcc" || (f.lower == "to" || f.lower == "cc") && f.text() != ""
	})
}

// completeAuthor leaves one well-formed From, and replaces the author if the caller wants
// another.
func (h *repair) completeAuthor() {
	kept := h.keepOne("from", isAddressList)
	var authors []string
	switch {
	case kept < 0 && h.repairs.Sender == "":
		return
	case kept < 0:
		authors = []string{h.repairs.Sender}
		kept = len(h.fields)
		h.add("From", h.repairs.Sender)
		h.note(FromAdded)
	default:
		if authors = addresses(h.fields[kept].value); authors == nil {
			authors = h.repairAuthor(kept)
		}
	}
	if h.repairs.Author == nil {
		return
	}
	replacement := h.repairs.Author(authors)
	if replacement == "" || len(authors) == 1 && strings.EqualFold(authors[0], replacement) {
		return
	}
	h.replaceAuthor(kept, authors, replacement)
}

// repairAuthor puts a From right that is not well-formed. It returns the author's
// address: the one that can be read, or else the envelope sender.
func (h *repair) repairAuthor(i int) (authors []string) {
	author := readMailbox(h.fields[i].text())
	if author.address == "" {
		author.address = h.repairs.Sender
	}
	if author.address == "" {
		return nil
	}
	h.setFrom(i, author)
	h.note(FromRepaired)
	return []string{author.address}
}

// replaceAuthor makes replacement the author. Replies still go to the previous ones.
func (h *repair) replaceAuthor(i int, authors []string, replacement string) {
	h.setFrom(i, mailbox{nameOf(h.fields[i].text()), replacement})
	if len(authors) > 0 && len(h.all("reply-to")) == 0 {
		h.add("Reply-To", strings.Join(slices.Compact(authors), ",\r\n "))
	}
	for _, i := range h.all("sender") {
		h.setAside(i)
	}
	h.note(AuthorReplaced)
}

// checkSender sets a Sender aside that the caller does not allow, or that cannot be read.
// Mail programs show it beside the author.
func (h *repair) checkSender() {
	if h.repairs.MaySend == nil {
		return
	}
	for _, i := range h.all("sender") {
		if senders := addresses(h.fields[i].value); senders == nil || !h.repairs.MaySend(senders) {
			h.setAside(i)
			h.note(SenderRenamed)
		}
	}
}

// setFrom replaces a From field and keeps its value as X-Original-From, unless that is
// empty or ours.
func (h *repair) setFrom(i int, author mailbox) {
	previous := h.fields[i]
	title, value, _ := strings.Cut(strings.TrimSuffix(field("From", author.name, author.address), "\r\n"), ":")
	h.fields[i] = newField(title, []byte(value))
	h.fields[i].changed = true
	if previous.text() != "" && !slices.Contains(h.done, FromAdded) && !slices.Contains(h.done, FromRepaired) {
		previous = newField("X-Original-From", previous.value)
		previous.changed = true
		h.fields = slices.Insert(h.fields, i+1, previous)
	}
}

// readMailbox reads a mailbox that is not well-formed: the last address in angle brackets,
// or a text that is one address. What else there is becomes the name.
func readMailbox(text string) mailbox {
	if opening := strings.LastIndexByte(text, '<'); opening >= 0 {
		inside, after, _ := strings.Cut(text[opening+1:], ">")
		return mailbox{quotedName(text[:opening] + " " + after), parsedAddress(strings.TrimSpace(inside))}
	}
	if address := parsedAddress(text); address != "" {
		return mailbox{address: address}
	}
	return mailbox{name: quotedName(text)}
}

// parsedAddress returns the address if it is valid on its own, else "".
func parsedAddress(address string) string {
	if len(addresses([]byte(address))) != 1 {
		return ""
	}
	return validAddress(address)
}

// quotedName returns a text as a display name.
func quotedName(text string) string {
	text = strings.Map(func(c rune) rune {
		if isControl(c) {
			return ' '
		}
		return c
	}, text)
	text = strings.Trim(text, "\" \t\\")
	if text == "" {
		return ""
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// nameOf returns the display name of the first mailbox, as written.
func nameOf(value string) string { return parseMailbox([]byte(value)).name }

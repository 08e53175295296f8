package journal

import (
	"io"
	"log/slog"
)

// Text gives a handler that writes one readable line an event. With
// conversation, the lines of the SMTP dialogue with the upstream are written
// too.
func Text(w io.Writer, conversation bool) slog.Handler {
	o := options(conversation)
	o.ReplaceAttr = func(groups []string, attr slog.Attr) slog.Attr {
		if len(groups) > 0 && saidByCertificate[attr.Key] {
			return slog.Attr{}
		}
		return inPlainWords(groups, attr)
	}
	return slog.NewTextHandler(w, o)
}

// JSON gives a handler that writes one JSON object an event and line.
func JSON(w io.Writer, conversation bool) slog.Handler {
	return slog.NewJSONHandler(w, options(conversation))
}

// saidByCertificate are fields of a connection that its certificate line says
// in words; for a reader once is enough.
var saidByCertificate = map[string]bool{"requested": true, "shown": true, "key": true}

func options(conversation bool) *slog.HandlerOptions {
	level := slog.LevelInfo
	if conversation {
		level = levelConversation
	}
	return &slog.HandlerOptions{Level: level, ReplaceAttr: inPlainWords}
}

// inPlainWords names the event's own fields as a reader of a mail log expects.
func inPlainWords(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return attr
	}
	switch attr.Key {
	case slog.MessageKey:
		attr.Key = "event"
	case slog.TimeKey:
		attr.Value = slog.StringValue(attr.Value.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
	case slog.LevelKey:
		if level, ok := attr.Value.Any().(slog.Level); ok && level <= slog.LevelInfo {
			return slog.Attr{}
		}
	}
	return attr
}

package journal

import (
	"io"
	"log/slog"
)

// Text returns a handler that writes one readable line per event. With
// conversation, it includes the SMTP dialogue with the upstream.
func Text(w io.Writer, conversation bool) slog.Handler {
	o := options(conversation)
	o.ReplaceAttr = func(groups []string, attr slog.Attr) slog.Attr {
		if len(groups) > 0 && certificateAttrs[attr.Key] {
			return slog.Attr{}
		}
		return replaceAttr(groups, attr)
	}
	return slog.NewTextHandler(w, o)
}

// JSON returns a handler that writes one JSON object per event and line.
func JSON(w io.Writer, conversation bool) slog.Handler {
	return slog.NewJSONHandler(w, options(conversation))
}

// certificateAttrs are the attributes of a connection that its certificate line
// already contains; the text log omits them.
var certificateAttrs = map[string]bool{"requested": true, "shown": true, "key": true}

func options(conversation bool) *slog.HandlerOptions {
	level := slog.LevelInfo
	if conversation {
		level = levelConversation
	}
	return &slog.HandlerOptions{Level: level, ReplaceAttr: replaceAttr}
}

// replaceAttr adjusts the built-in attributes for a mail log.
func replaceAttr(groups []string, attr slog.Attr) slog.Attr {
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

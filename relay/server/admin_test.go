package server

import (
	"context"
	"errors"
	"strings"
	"testing"

	"sealpost/relay/dispatch"
	"sealpost/relay/journal"
)

func TestServer_ReturnsTheReasonWithoutAQueue(t *testing.T) {
	s := &Server{dispatcher: dispatch.New(dispatch.Config{}, []dispatch.Route{{}}, journal.Discard())}
	defer func() { _ = s.dispatcher.Close(context.Background()) }()
	s.dispatcher.SetQueueError(errors.New("TPM absent: check that it is fitted"))
	for _, err := range s.Messages(t.Context()) {
		t.Errorf("Messages: got %v", err)
	}
	if status, err := s.Status(t.Context()); err != nil || !strings.Contains(status.Spool, "TPM absent: check that it is fitted") {
		t.Errorf("got status %+v, %v", status, err)
	}
	for name, call := range map[string]func() error{
		"show":   func() error { _, err := s.Show(t.Context(), "X"); return err },
		"retry":  func() error { _, err := s.Retry(t.Context(), "X"); return err },
		"drop":   func() error { _, err := s.Drop(t.Context(), "X"); return err },
		"stat":   func() error { _, err := s.SpoolStat(t.Context()); return err },
		"verify": func() error { _, err := s.SpoolVerify(t.Context()); return err },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "TPM absent") {
			t.Errorf("%s: got %v, want the reason", name, err)
		}
	}
}

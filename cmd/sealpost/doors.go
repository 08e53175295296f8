package main

import (
	"fmt"
	"net"
	"strings"

	"sealpost/provisioning/settings"
	"sealpost/relay/lan"
)

// doors are the open listeners, each with what serves it.
type doors []door

type door struct {
	net.Listener
	serve func(net.Listener) error
}

// openDoors opens what the settings name; with an error it gives those that
// are open already.
func openDoors(s settings.LAN, server *lan.Server) (doors, error) {
	var d doors
	for _, address := range s.SMTP {
		if err := d.listen(string(address), server.Serve); err != nil {
			return d, err
		}
	}
	for _, address := range s.SMTPS {
		if err := d.listen(string(address), server.ServeTLS); err != nil {
			return d, err
		}
	}
	return d, nil
}

func (d *doors) listen(address string, serve func(net.Listener) error) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		cure := "choose another port in lan.smtp and lan.smtps"
		if strings.Contains(err.Error(), "permission denied") {
			cure = "ports below 1024 need root, or: setcap cap_net_bind_service=+ep on the program"
		}
		return fmt.Errorf("%w: %s", err, cure)
	}
	*d = append(*d, door{listener, serve})
	return nil
}

func (d doors) close() {
	for _, door := range d {
		_ = door.Close()
	}
}

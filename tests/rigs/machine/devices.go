package machine

import (
	"fmt"
	"time"
)

type object = map[string]any

// Execute runs a QMP command.
func (m *Machine) Execute(command string, arguments map[string]any) error {
	return m.session().control.execute(command, arguments)
}

// Press presses a key of the keyboard, named as in QEMU's QKeyCode. The button
// of the box is "f12".
func (m *Machine) Press(key string) error { return m.key(key, true) }

// Release releases a key.
func (m *Machine) Release(key string) error { return m.key(key, false) }

func (m *Machine) key(key string, down bool) error {
	event := object{"type": "key", "data": object{"down": down, "key": object{"type": "qcode", "data": key}}}
	return m.Execute("input-send-event", object{"events": []object{event}})
}

// Fault sends a signal, such as "STOP", to the box's process of that name, such
// as "relay"; "FREEZE" makes the kernel suspend it.
func (m *Machine) Fault(signal, process string) error {
	if _, err := fmt.Fprintf(m.session().faults, "%s %s\n", signal, process); err != nil {
		return fmt.Errorf("causing a fault: %w", err)
	}
	return nil
}

// Unplug unplugs the network cable.
func (m *Machine) Unplug() error { return m.Execute("set_link", object{"name": "nic", "up": false}) }

// Plug plugs the network cable in.
func (m *Machine) Plug() error { return m.Execute("set_link", object{"name": "nic", "up": true}) }

// Insert plugs in a USB stick backed by the file image, which the box may write.
// The name identifies the stick.
func (m *Machine) Insert(name, image string) error {
	return m.insert(name, object{"driver": "raw", "node-name": name, "file": object{"driver": "file", "filename": image}})
}

// InsertProtected is Insert with a write-protected stick.
func (m *Machine) InsertProtected(name, image string) error {
	return m.insert(name, object{"driver": "raw", "node-name": name, "read-only": true,
		"file": object{"driver": "file", "filename": image, "read-only": true}})
}

func (m *Machine) insert(name string, medium object) error {
	if err := m.Execute("blockdev-add", medium); err != nil {
		return err
	}
	return m.Execute("device_add", object{"driver": "usb-storage", "id": name + "-stick", "drive": name, "removable": true})
}

// Remove pulls a USB stick out, even while the box uses it.
func (m *Machine) Remove(name string) error {
	if err := m.Execute("device_del", object{"id": name + "-stick"}); err != nil {
		return err
	}
	// QEMU releases the image a moment later.
	for deadline := time.Now().Add(WaitLimit); ; time.Sleep(pollInterval) {
		err := m.Execute("blockdev-del", object{"node-name": name})
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("removing the stick %s: %w", name, err)
		}
	}
}

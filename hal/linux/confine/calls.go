package confine

import (
	"math"

	"golang.org/x/sys/unix"
)

// newest is the newest system call that this file covers. Later ones fail as unknown:
// the program was built without them.
const newest = unix.SYS_MSEAL

// forbidden are system calls that always fail. The relay makes none of them, and
// they are useful to an attacker. Other calls are allowed: the Go
// runtime's own calls differ between versions and architectures.
var forbidden = []struct {
	reason string
	result unix.Errno
	calls  []uint32
}{
	{"another program, also one that is only in memory", unix.EPERM, []uint32{unix.SYS_EXECVE, unix.SYS_EXECVEAT}},
	{"another process's memory, files and signals, also one of the same user", unix.EPERM, []uint32{
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_MRELEASE, unix.SYS_KCMP,
		unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO,
		unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES}},
	{"other namespaces, in which a process has more rights", unix.EPERM, []uint32{unix.SYS_SETNS, unix.SYS_UNSHARE}},
	{"its flags are in memory, where no filter sees them; callers then use clone", unix.ENOSYS, []uint32{unix.SYS_CLONE3}},
	{"mounts, and files beyond them", unix.EPERM, []uint32{
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR, unix.SYS_FSOPEN, unix.SYS_FSPICK,
		unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
		unix.SYS_FANOTIFY_INIT, unix.SYS_FANOTIFY_MARK}},
	{"the kernel's code", unix.EPERM, []uint32{unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD}},
	{"large parts of the kernel with frequent vulnerabilities", unix.EPERM, []uint32{
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL}},
	{"a ring makes system calls that no filter sees", unix.EPERM, []uint32{unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER}},
	// adjtimex stays: without privileges it only reads, and says whether the clock is set.
	{"the machine's clock, name, log, quotas, swap and power", unix.EPERM, []uint32{
		unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_SYSLOG,
		unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_REBOOT, unix.SYS_VHANGUP}},
	{"memory shared with other processes, which shmat maps executable", unix.EPERM, []uint32{
		unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_SHMDT, unix.SYS_SEMGET, unix.SYS_SEMCTL, unix.SYS_MSGGET, unix.SYS_MSGCTL, unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK}},
	{"memory that is executable without a request for it", unix.EPERM, []uint32{unix.SYS_PERSONALITY}},
	{"sockets of families that the table of sockets lacks", unix.EPERM, []uint32{unix.SYS_SOCKETPAIR}},
	{"system calls of only this architecture", unix.EPERM, archSpecific},
}

// condition is what one argument of a call must be: argument & mask == value. A call
// without a condition is judged by the table above alone.
type condition struct {
	reason      string
	call        uint32
	argument    uint32
	mask, value uint32
}

const (
	everyBit   = math.MaxUint32
	namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
)

// conditions returns the calls that depend on an argument; self is the process's ID.
func conditions(self uint32) []condition {
	return []condition{
		{"threads, but no process that would outlive this one", unix.SYS_CLONE, 0, unix.CLONE_THREAD, unix.CLONE_THREAD},
		{"threads in the same namespaces", unix.SYS_CLONE, 0, namespaces, 0},
		{"signals to itself, with which the Go runtime interrupts threads", unix.SYS_KILL, 0, everyBit, self},
		{"the same for one thread", unix.SYS_TGKILL, 0, everyBit, self},
		{"TCP Fast Open connects without connect, which Landlock would check", unix.SYS_SENDTO, 3, unix.MSG_FASTOPEN, 0},
		{"the same with a message", unix.SYS_SENDMSG, 2, unix.MSG_FASTOPEN, 0},
		{"the same with several messages", unix.SYS_SENDMMSG, 3, unix.MSG_FASTOPEN, 0},
		{"memory, but no new code in it", callMmap, 2, unix.PROT_EXEC, 0},
		{"no code where there was data", unix.SYS_MPROTECT, 2, unix.PROT_EXEC, 0},
		{"the same with a key", unix.SYS_PKEY_MPROTECT, 2, unix.PROT_EXEC, 0},
	}
}

// sockets are the kinds of socket that the process may open. Landlock's rules cover
// TCP only, so MPTCP and other protocols with streams must not be among them.
var sockets = []struct{ family, kind, protocol uint32 }{
	{unix.AF_INET, unix.SOCK_STREAM, 0},
	{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP},
	{unix.AF_INET, unix.SOCK_DGRAM, 0},
	{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP},
	{unix.AF_INET6, unix.SOCK_STREAM, 0},
	{unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP},
	{unix.AF_INET6, unix.SOCK_DGRAM, 0},
	{unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP},
	{unix.AF_UNIX, unix.SOCK_STREAM, 0},
	// The kernel's list of the machine's addresses.
	{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE},
}

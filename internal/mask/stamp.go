package mask

// stampBytes is the longest time that may stand at the start of a line, with the space after it.
const stampBytes = len("2006-01-02T15:04:05.000000000+00:00 ")

// stampAt gives the size of the time that b begins with (RFC 3339, and a space), as a log with times puts one before each
// line, also before those into which base64 is wrapped; 0 where it is none. cut says that it may be one if b goes on.
func stampAt(b []byte) (size int, cut bool) {
	const date = "0000-00-00T00:00:00"
	i, ok := like(b, date)
	if i == len(b) || !ok {
		return 0, ok
	}
	if b[i] == '.' {
		for i++; i < len(b) && i < stampBytes && digit(b[i]); i++ {
		}
	}
	if i == len(b) {
		return 0, i < stampBytes
	}
	zone := "Z "
	if b[i] == '+' || b[i] == '-' {
		zone = string(b[i]) + "00:00 "
	}
	n, ok := like(b[i:], zone)
	if !ok || n < len(zone) {
		return 0, ok
	}
	return i + n, false
}

// like gives how far b is like shape, in which 0 stands for any digit, and whether it is as far as both go.
func like(b []byte, shape string) (int, bool) {
	n := min(len(b), len(shape))
	for i := range n {
		if shape[i] != b[i] && (shape[i] != '0' || !digit(b[i])) {
			return i, false
		}
	}
	return n, true
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// stamp reads the rest of a time whose first digit was read. Where there is none it reads nothing; whole is false where
// the end of src does not let it be known.
func (d *decoder) stamp(first byte) (is, whole bool) {
	save := *d
	var buf [stampBytes + 1]byte
	buf[0] = first
	for n := 1; n <= stampBytes; n++ {
		size, cut := stampAt(buf[:n])
		if size > 0 {
			return true, true
		}
		if !cut {
			break
		}
		c, ok := d.next()
		if !ok {
			short := d.short
			*d = save
			if d.last { // what there is, is all of it: a value may end here
				return false, true
			}
			d.short = short
			return false, !short
		}
		buf[n] = c
	}
	*d = save
	return false, true
}

// Package pktline reads and writes git's pkt-lines (gitprotocol-common, gitprotocol-v2) and loses no byte of them.
//
//	| length, 4 hexadecimal digits, with themselves | payload, at most 65516 octets |
//	| 0000 |  flush: the end of a message           | 0001 |  delimiter: the end of a section of it
//	| 0002 |  response end, in a stateless protocol | 0003 |  reserved: refused      | 0004 |  an empty payload
//
//	payload, where side-band-64k was agreed:  | 1 data, 2 progress, 3 error: 1 octet | …, at most 65515 octets |
//	payload, instead of any other:            | ERR | space | why the server gives up |
//
// It guarantees that the Raw of all packets, one after the other, is what was read, also where its hexadecimal digits are
// written as git does not write them; that a packet is given as soon as it has arrived, and nothing waited for after it;
// that what is no pkt-line is an error that says where; that memory is bounded, and nothing is allocated per packet.
//
// It does not know what a payload means, nor which packets are an answer to what. After the last pkt-line other bytes may
// follow, as a pack does after the commands of a push: see Reader.Rest.
package pktline

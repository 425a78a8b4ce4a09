// The bytes of an HDF5 file that one process writes: after every single write any reader opens what is there.
//
// HDF5's single-writer mode orders its writes so that nothing on disk points at what is not there yet. But it marks
// the superblock "being written", which keeps readers out, and says how long the file is with the last write of a
// flush, so that what lies beyond the old end cannot be read before. Here the mark never reaches the disk, and the end
// does before anything can point beyond it.
// HDF5 file format specification 3.0, section II.A: superblock version 3, flags in byte 11, end of file in bytes 28-35,
// lookup3 checksum of bytes 0-43 in bytes 44-47.
#pragma once
#include <cstdint>

namespace peakrt {

class SoundFile {
 public:
  // Takes a descriptor that may read and write, and clears a mark that an earlier writer left. (HDF5 1.14 clears it in
  // the image of a file in memory and forgets the checksum.)
  // Throws std::invalid_argument unless it holds an HDF5 file with such a superblock.
  explicit SoundFile(int descriptor);
  // Fills data with n bytes from at on; zeros beyond the end.
  void read(std::int64_t at, std::uint8_t* data, std::int64_t n) const;
  // Once a write has failed (see error) none reaches the disk: what is there stays as it was.
  void write(std::int64_t at, const std::uint8_t* data, std::int64_t n);
  void truncate(std::int64_t size);
  std::int64_t size() const { return size_; }
  int error() const { return error_; }  // errno of the write that failed, or 0

 private:
  static constexpr int kSuperblock = 48;
  void put(std::int64_t at, const std::uint8_t* data, std::int64_t n);
  void put_superblock(std::int64_t end);
  int descriptor_;
  int error_ = 0;
  std::int64_t size_;  // as HDF5 believes: of what it has written
  std::int64_t end_;   // as the superblock on disk says
  std::uint8_t superblock_[kSuperblock];
};

}  // namespace peakrt

# cython: language_level=3, boundscheck=False, wraparound=False
"""Bindings to csrc/; no algorithm lives here."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t, uintptr_t
from libc.string cimport memcpy
from libcpp cimport bool
from libcpp.vector cimport vector
from cython.operator cimport dereference

import numpy as np

cdef extern from "peakrt/peak.hpp" namespace "peakrt" nogil:
    cdef struct Peak:
        int32_t panel
        float ss, fs, intensity, max, background, noise, snr
        int32_t npix, top_ss, top_fs, min_ss, max_ss, min_fs, max_fs
        float var_ss, var_fs, cov, score, err_ss, err_fs
    cdef struct Asic:
        int32_t panel, min_ss, end_ss, min_fs, end_fs
    cdef cppclass Shape:
        int32_t panel, ss, fs
        int64_t pixels()

cdef extern from "peakrt/dtype.hpp" namespace "peakrt" nogil:
    cdef enum class Dtype(int):
        u8, i8, u16, i16, u32, i32, u64, i64, f32, f64

cdef extern from "peakrt/group.hpp" namespace "peakrt" nogil:
    cdef struct Peakfinder8Options:
        float adc_threshold, min_snr
        int min_pixels, max_pixels, background_radius

cdef extern from "peakrt/radial_plan.hpp" namespace "peakrt" nogil:
    cdef struct BinGroup:
        int64_t first
        int32_t full, deep
    int64_t bit_words(int64_t)
    cdef cppclass RadialPlan:
        Shape shape
        int n_bins
        vector[uint16_t] bin
        vector[int32_t] bin_pixels, order
        vector[BinGroup] groups

cdef extern from "peakrt/peakfinder8.hpp" namespace "peakrt" nogil:
    cdef cppclass Peakfinder8Plan(RadialPlan):
        int block_span
        vector[uint16_t] block_bin, block_good
        Peakfinder8Plan(Shape, const uint8_t*, const float*, vector[Asic], int) except +
        Peakfinder8Plan(const Peakfinder8Plan&, const uint64_t*) except +
    cdef cppclass Peakfinder8Workspace:
        vector[Peak] peaks
        vector[float] threshold, offset
        bool original
        Peakfinder8Workspace(const Peakfinder8Plan&, const Peakfinder8Options&) except +
    void c_peakfinder8 "peakrt::peakfinder8"(
        const Peakfinder8Plan&, const Peakfinder8Options&, Dtype, const void*, Peakfinder8Workspace&) except +
    const char* c_instruction_set "peakrt::instruction_set"()
    void c_set_instruction_set "peakrt::set_instruction_set"(const char*) except +

cdef extern from "peakrt/device_twin.hpp" namespace "peakrt" nogil:
    cdef struct DeviceBatch:
        pass
    cdef struct ProposerBatch:
        pass
    void c_peakfinder8_twin "peakrt::peakfinder8_twin"(const char*, const DeviceBatch&, Dtype, const void*) except +
    void c_proposer_twin "peakrt::proposer_twin"(const char*, const ProposerBatch&, Dtype, const void*) except +
    cdef struct ConvLayer:
        pass
    cdef struct Field:
        const char* name
        const char* format
        size_t offset, size
    vector[Field] c_proposer_batch_fields "peakrt::proposer_batch_fields"()
    vector[Field] c_peakfinder8_batch_fields "peakrt::peakfinder8_batch_fields"()
    vector[Field] c_conv_layer_fields "peakrt::conv_layer_fields"()
    cdef struct Kernel:
        const char* name
        bool takes_frames
        int team
    vector[Kernel] c_proposer_kernels "peakrt::proposer_kernels"()
    uint16_t c_to_half "peakrt::to_half"(float)
    void c_conv_twin "peakrt::conv_twin"(const ConvLayer&) except +
    const int kBadFrames, kPasses, kNoisePasses, kDeviceBlock, kSegmentationClasses
    const float kBadShare, kAlone, kDark
    const int kConvChannels, kDeviceLanes, kDeviceGroup, kTile, kSamplesPerBin, kWindows, kSums
    const int kSweepSs, kSweepFs, kMostHidden, kTeamThreads, kMostCandidates
    cdef struct Noise:
        pass

cdef extern from "peakrt/propose.hpp" namespace "peakrt" nogil:
    cdef struct Candidate:
        int32_t asic, panel, ss, fs
        float z, s3, s5, local
    cdef struct Window:
        int32_t asic, ss, fs
    cdef cppclass ProposePlan:
        RadialPlan bins
        bool radial
        vector[float] tile_weight
        vector[int64_t] tile_first
        vector[Window] windows
        float megapixels()
        ProposePlan(Shape, const uint8_t*, const float*, vector[Asic], bool) except +
        ProposePlan(const ProposePlan&, const uint64_t*) except +
    cdef cppclass ProposeWorkspace:
        vector[Candidate] candidates
        vector[float] mean, inverse, photons
        float noise3, noise5
        int64_t dropped
        bool crowded
        ProposeWorkspace(const ProposePlan&) except +
    void c_propose "peakrt::propose"(
        const ProposePlan&, float, Dtype, const void*, ProposeWorkspace&) except +
    void c_measure_bins "peakrt::measure_bins"(
        const ProposePlan&, float, Dtype, const void*, ProposeWorkspace&) except +
    void c_segmentation_inputs "peakrt::segmentation_inputs"(
        const ProposePlan&, Dtype, const void*, const ProposeWorkspace&, float*) except +

cdef extern from "peakrt/describe.hpp" namespace "peakrt" nogil:
    const int kFeatures
    void c_describe "peakrt::describe"(
        const ProposePlan&, Dtype, const void*, const ProposeWorkspace&, float*) except +
    const int kFrameInputs, kFrameHidden, kFrameCounts, kFrameWeights
    void c_frame_inputs "peakrt::frame_inputs_of"(const float*, const float*, size_t, float*)
    void c_weigh_scores "peakrt::weigh_scores"(const float*, const float*, size_t, const float*, float*)
    cdef struct LeastScore:
        float usual, in_hits
    void c_measure_peaks "peakrt::measure_peaks"(
        const ProposePlan&, float, Dtype, const void*, const ProposeWorkspace&, const float*, size_t, LeastScore,
        vector[Peak]*) except +

cdef extern from *:
    """
    #define PEAKRT_NAME(name) #name " "
    static const char* peakrt_feature_names = PEAKRT_FEATURES(PEAKRT_NAME) "";
    static const char* peakrt_frame_input_names = PEAKRT_FRAME_INPUTS(PEAKRT_NAME) "";
    """
    const char* peakrt_feature_names
    const char* peakrt_frame_input_names

cdef extern from "peakrt/sound_file.hpp" namespace "peakrt" nogil:
    cdef cppclass SoundFileBytes "peakrt::SoundFile":
        SoundFileBytes(int) except +
        void read(int64_t, uint8_t*, int64_t)
        void write(int64_t, const uint8_t*, int64_t)
        void truncate(int64_t)
        int64_t size()
        int error()

cdef extern from "peakrt/v3r3.hpp" namespace "peakrt" nogil:
    cdef struct PsanaSelection:
        float npix_min, npix_max, amax_thr, atot_thr, son_min
    cdef struct V3r3Options:
        int rank
        float r0, dr, nsigm
        PsanaSelection selection
    void c_v3r3 "peakrt::v3r3"(
        Shape, Dtype, const void*, const uint8_t*, const V3r3Options&, vector[Peak]*) except +

cdef extern from "peakrt/v4r3.hpp" namespace "peakrt" nogil:
    cdef struct V4r3Options:
        int rank
        float r0, dr
        double thr_low, thr_high
        PsanaSelection selection
    void c_v4r3 "peakrt::v4r3"(
        Shape, Dtype, const void*, const uint8_t*, const V4r3Options&, vector[Peak]*) except +

cdef extern from "peakrt/components.hpp" namespace "peakrt" nogil:
    int32_t c_label "peakrt::label"(Shape, const uint8_t*, int32_t*) except +
    void c_measure "peakrt::measure"(
        Shape, Dtype, const void*, const int32_t*, int32_t, const float*, const float*, const float*,
        vector[Peak]*) except +

cdef extern from "peakrt/photons.hpp" namespace "peakrt" nogil:
    cdef struct Spot:
        int32_t panel
        float ss, fs, photons, sigma_along, sigma_across, cos_fs, sin_ss
    cdef struct Readout:
        float offset, gain, gain_spread, read_noise, low, high
        int whole
    void c_draw_spots "peakrt::draw_spots"(Shape, const Spot*, int64_t, float*)
    void c_count_photons "peakrt::count_photons"(float*, int64_t, uint64_t)
    void c_read_out "peakrt::read_out"(const float*, int64_t, const Readout&, uint64_t, uint64_t, float*)

cdef extern from "peakrt/profile_fit.hpp" namespace "peakrt" nogil:
    cdef struct ProfileStart:
        int32_t panel
        float ss, fs
    cdef struct ProfileFit:
        pass
    void c_fit_profiles "peakrt::fit_profiles"(
        Shape, const float*, const uint16_t*, const ProfileStart*, int64_t, int, ProfileFit*) except +

# The field names, in C order; peakrt.peaks builds the numpy dtype and a test compares the offsets.
cdef Peak _probe
PEAK_OFFSETS = {
    "panel": <char*>&_probe.panel - <char*>&_probe, "ss": <char*>&_probe.ss - <char*>&_probe,
    "fs": <char*>&_probe.fs - <char*>&_probe, "intensity": <char*>&_probe.intensity - <char*>&_probe,
    "max": <char*>&_probe.max - <char*>&_probe, "background": <char*>&_probe.background - <char*>&_probe,
    "noise": <char*>&_probe.noise - <char*>&_probe, "snr": <char*>&_probe.snr - <char*>&_probe,
    "npix": <char*>&_probe.npix - <char*>&_probe, "top_ss": <char*>&_probe.top_ss - <char*>&_probe,
    "top_fs": <char*>&_probe.top_fs - <char*>&_probe, "min_ss": <char*>&_probe.min_ss - <char*>&_probe,
    "max_ss": <char*>&_probe.max_ss - <char*>&_probe, "min_fs": <char*>&_probe.min_fs - <char*>&_probe,
    "max_fs": <char*>&_probe.max_fs - <char*>&_probe, "var_ss": <char*>&_probe.var_ss - <char*>&_probe,
    "var_fs": <char*>&_probe.var_fs - <char*>&_probe, "cov": <char*>&_probe.cov - <char*>&_probe,
    "score": <char*>&_probe.score - <char*>&_probe, "err_ss": <char*>&_probe.err_ss - <char*>&_probe,
    "err_fs": <char*>&_probe.err_fs - <char*>&_probe,
}
PEAK_SIZE = sizeof(Peak)
SPOT_SIZE = sizeof(Spot)
PROFILE_START_SIZE, PROFILE_FIT_SIZE = sizeof(ProfileStart), sizeof(ProfileFit)

cdef dict _DTYPES = {
    "u1": <int>Dtype.u8, "i1": <int>Dtype.i8, "u2": <int>Dtype.u16, "i2": <int>Dtype.i16,
    "u4": <int>Dtype.u32, "i4": <int>Dtype.i32, "u8": <int>Dtype.u64, "i8": <int>Dtype.i64,
    "f4": <int>Dtype.f32, "f8": <int>Dtype.f64,
}


cdef const void* _address(frame) except NULL:
    """Address of a C-contiguous array of a type in _DTYPES; the caller keeps it alive."""
    cdef size_t address = frame.__array_interface__["data"][0]
    return <const void*>address


cdef Dtype _dtype(frame) except *:
    return <Dtype><int>_DTYPES[frame.dtype.str[1:]]


cdef Shape _shape(frame):
    cdef Shape shape
    shape.panel = <int32_t>frame.shape[0]
    shape.ss = <int32_t>frame.shape[1]
    shape.fs = <int32_t>frame.shape[2]
    return shape


cdef vector[Asic] _asics(const int32_t[:, ::1] asics):
    cdef vector[Asic] rows
    cdef Asic row
    cdef Py_ssize_t i
    for i in range(asics.shape[0]):
        row.panel, row.min_ss, row.end_ss, row.min_fs, row.end_fs = asics[i]
        rows.push_back(row)
    return rows


cdef object _to_array(const vector[Peak]& peaks, dtype):
    return _copy(peaks.data(), peaks.size(), dtype)


cdef object _copy(const void* data, size_t n, dtype):
    out = np.empty(n, dtype)
    cdef size_t address = out.__array_interface__["data"][0]
    if n:
        memcpy(<void*>address, data, n * out.itemsize)
    return out


def instruction_set():
    return c_instruction_set().decode()


def set_instruction_set(name):
    c_set_instruction_set(name.encode())


cdef _check_bits(const uint64_t[::1] good, Shape shape):
    if good.shape[0] != bit_words(shape.pixels()):
        raise ValueError("a mask of {} words for {} pixels".format(good.shape[0], shape.pixels()))


cdef class Plan:
    """Peakfinder8Plan: what peakfinder8 derives from mask, radius and ASICs."""
    cdef Peakfinder8Plan* plan

    def __init__(self, const uint8_t[:, :, ::1] mask, const float[:, :, ::1] radius,
                 const int32_t[:, ::1] asics, int samples_per_bin):
        cdef vector[Asic] rows = _asics(asics)
        cdef Shape shape = _shape(mask)
        del self.plan
        self.plan = NULL
        with nogil:
            self.plan = new Peakfinder8Plan(shape, &mask[0, 0, 0], &radius[0, 0, 0], rows, samples_per_bin)

    def __dealloc__(self):
        del self.plan

    def with_mask(self, const uint64_t[::1] good):
        """The plan of another mask, given as bits."""
        cdef Plan derived = Plan.__new__(Plan)
        _check_bits(good, self.plan.shape)
        with nogil:
            derived.plan = new Peakfinder8Plan(dereference(self.plan), &good[0])
        return derived

    def arrays(self):
        """The plan's arrays and numbers, copied: what the device needs of it."""
        cdef Peakfinder8Plan* plan = self.plan
        return {
            **_radial_arrays(plan),
            "block_span": plan.block_span,
            "block_bin": _copy(plan.block_bin.data(), plan.block_bin.size(), np.uint16),
            "block_good": _copy(plan.block_good.data(), plan.block_good.size(), np.uint16),
        }


cdef _radial_arrays(const RadialPlan* plan):
    return {
        "n_bins": plan.n_bins,
        "bin": _copy(plan.bin.data(), plan.bin.size(), np.uint16),
        "order": _copy(plan.order.data(), plan.order.size(), np.int32),
        "group_first": np.array([plan.groups[g].first for g in range(plan.groups.size())], np.int64),
        "group_deep": np.array([plan.groups[g].deep for g in range(plan.groups.size())], np.int32),
    }


cdef class Workspace:
    """Peakfinder8Workspace of one thread, with the options it was made for."""
    cdef Peakfinder8Workspace* workspace
    cdef Peakfinder8Options options
    cdef Plan plan

    def __cinit__(self, Plan plan, float adc_threshold, float min_snr, int min_pixels, int max_pixels,
                  int background_radius, bint original):
        self.plan = plan
        self.options.adc_threshold = adc_threshold
        self.options.min_snr = min_snr
        self.options.min_pixels = min_pixels
        self.options.max_pixels = max_pixels
        self.options.background_radius = background_radius
        self.workspace = new Peakfinder8Workspace(dereference(plan.plan), self.options)
        self.workspace.original = original

    def __dealloc__(self):
        del self.workspace

    def find(self, frame, dtype):
        cdef const void* data = _address(frame)
        cdef Dtype kind = _dtype(frame)
        with nogil:
            c_peakfinder8(dereference(self.plan.plan), self.options, kind, data, dereference(self.workspace))
        return _to_array(self.workspace.peaks, dtype)


FEATURES = tuple(peakrt_feature_names.decode().split())
FRAME_INPUTS = tuple(peakrt_frame_input_names.decode().split())
#: Width of the second network's hidden layer, and the number of its weights.
FRAME_HIDDEN, FRAME_WEIGHTS = kFrameHidden, kFrameWeights


cdef class ProposerPlan:
    """ProposePlan: shared by the proposers of all threads."""
    cdef ProposePlan* plan

    def __init__(self, const uint8_t[:, :, ::1] mask, const float[:, :, ::1] bins, const int32_t[:, ::1] asics,
                 bint radial):
        cdef vector[Asic] rows = _asics(asics)
        cdef Shape shape = _shape(mask)
        del self.plan
        self.plan = NULL
        with nogil:
            self.plan = new ProposePlan(shape, &mask[0, 0, 0], &bins[0, 0, 0], rows, radial)

    def __dealloc__(self):
        del self.plan

    def with_mask(self, const uint64_t[::1] good):
        """The plan of another mask, given as bits."""
        cdef ProposerPlan derived = ProposerPlan.__new__(ProposerPlan)
        _check_bits(good, self.plan.bins.shape)
        with nogil:
            derived.plan = new ProposePlan(dereference(self.plan), &good[0])
        return derived

    def arrays(self):
        """The plan's arrays and numbers, copied: what the device needs of it."""
        cdef ProposePlan* plan = self.plan
        return {
            **_radial_arrays(&plan.bins),
            "radial": int(plan.radial),
            "megapixels": plan.megapixels(),
            "bin_pixels": _copy(plan.bins.bin_pixels.data(), plan.bins.bin_pixels.size(), np.int32),
            "tile_weight": _copy(plan.tile_weight.data(), plan.tile_weight.size(), np.float32),
            "tile_first": _copy(plan.tile_first.data(), plan.tile_first.size(), np.int64),
            "windows": _copy(plan.windows.data(), plan.windows.size() * 3, np.int32).reshape(-1, 3),
        }


cdef class Proposer:
    """ProposeWorkspace of one thread: candidates of a frame, the numbers that describe them, and the peaks that their scores make."""
    cdef ProposeWorkspace* workspace
    cdef ProposerPlan plan

    def __cinit__(self, ProposerPlan plan):
        self.plan = plan
        self.workspace = new ProposeWorkspace(dereference(plan.plan))

    def __dealloc__(self):
        del self.workspace

    def propose(self, frame, float gain):
        cdef const void* data = _address(frame)
        cdef Dtype kind = _dtype(frame)
        with nogil:
            c_propose(dereference(self.plan.plan), gain, kind, data, dereference(self.workspace))
        return self.workspace.candidates.size()

    def candidates(self, dtype):
        return _copy(self.workspace.candidates.data(), self.workspace.candidates.size(), dtype)

    def set_candidates(self, candidates):
        cdef const Candidate* rows = <const Candidate*>_address(candidates) if len(candidates) else NULL
        self.workspace.candidates.assign(rows, rows + <size_t>len(candidates))

    def describe(self, frame):
        cdef const void* data = _address(frame)
        cdef Dtype kind = _dtype(frame)
        cdef size_t n = self.workspace.candidates.size()
        numbers = np.empty((n, kFeatures), np.float32)
        cdef size_t to_numbers = numbers.__array_interface__["data"][0]
        with nogil:
            c_describe(dereference(self.plan.plan), kind, data, dereference(self.workspace), <float*>to_numbers)
        return numbers

    def segmentation_inputs(self, frame, float gain, float[:, :, :, ::1] out):
        cdef const void* data = _address(frame)
        cdef Dtype kind = _dtype(frame)
        with nogil:
            c_measure_bins(dereference(self.plan.plan), gain, kind, data, dereference(self.workspace))
            c_segmentation_inputs(dereference(self.plan.plan), kind, data, dereference(self.workspace), &out[0, 0, 0, 0])

    def measure(self, frame, float gain, const float[::1] scores, float usual, float in_hits, dtype):
        cdef vector[Peak] peaks
        cdef LeastScore least = LeastScore(usual, in_hits)
        cdef const void* data = _address(frame)
        cdef Dtype kind = _dtype(frame)
        cdef const float* score = &scores[0] if scores.shape[0] else NULL
        cdef size_t n_scores = scores.shape[0]
        with nogil:
            c_measure_peaks(dereference(self.plan.plan), gain, kind, data, dereference(self.workspace), score,
                            n_scores, least, &peaks)
        return _to_array(peaks, dtype)

    def tables(self):
        """Background, 1 / sigma and sigma^2 in photons by bin (the last one: masked), and the noise of S3 and S5."""
        cdef ProposeWorkspace* ws = self.workspace
        bins = self.plan.plan.bins.n_bins + 1
        return {
            "mean": _copy(ws.mean.data(), bins, np.float32), "inverse": _copy(ws.inverse.data(), bins, np.float32),
            "photons": _copy(ws.photons.data(), bins, np.float32),
            "noise3": ws.noise3, "noise5": ws.noise5, "dropped": ws.dropped, "crowded": ws.crowded,
        }


def frame_inputs(const float[:, ::1] numbers, const float[::1] scores):
    """What the second network is told of each candidate: (n, len(FRAME_INPUTS))."""
    cdef size_t n = scores.shape[0]
    if <size_t>numbers.shape[0] != n or numbers.shape[1] != kFeatures:
        raise ValueError("numbers and scores do not fit together")
    inputs = np.empty((n, kFrameInputs), np.float32)
    cdef float[:, ::1] out = inputs
    if n:
        with nogil:
            c_frame_inputs(&numbers[0, 0], &scores[0], n, &out[0, 0])
    return inputs


def weigh_scores(const float[:, ::1] numbers, const float[::1] scores, const float[::1] weights):
    """Scores of candidates in the light of their frame: frame_network.hpp."""
    cdef size_t n = scores.shape[0]
    if <size_t>numbers.shape[0] != n or numbers.shape[1] != kFeatures or weights.shape[0] != kFrameWeights:
        raise ValueError("numbers, scores and weights do not fit together")
    weighed = np.empty(n, np.float32)
    cdef float[::1] out = weighed
    if n:
        with nogil:
            c_weigh_scores(&numbers[0, 0], &scores[0], n, &weights[0], &out[0])
    return weighed


def v3r3(frame, const uint8_t[:, :, ::1] mask, dtype, int rank, float r0, float dr, float nsigm, float npix_min,
         float npix_max, float amax_thr, float atot_thr, float son_min):
    cdef PsanaSelection selection = PsanaSelection(npix_min, npix_max, amax_thr, atot_thr, son_min)
    cdef V3r3Options options = V3r3Options(rank, r0, dr, nsigm, selection)
    cdef vector[Peak] peaks
    cdef const void* data = _address(frame)
    cdef Dtype kind = _dtype(frame)
    cdef Shape shape = _shape(frame)
    with nogil:
        c_v3r3(shape, kind, data, &mask[0, 0, 0], options, &peaks)
    return _to_array(peaks, dtype)


def v4r3(frame, const uint8_t[:, :, ::1] mask, dtype, double thr_low, double thr_high, int rank, float r0, float dr,
         float npix_min, float npix_max, float amax_thr, float atot_thr, float son_min):
    cdef PsanaSelection selection = PsanaSelection(npix_min, npix_max, amax_thr, atot_thr, son_min)
    cdef V4r3Options options = V4r3Options(rank, r0, dr, thr_low, thr_high, selection)
    cdef vector[Peak] peaks
    cdef const void* data = _address(frame)
    cdef Dtype kind = _dtype(frame)
    cdef Shape shape = _shape(frame)
    with nogil:
        c_v4r3(shape, kind, data, &mask[0, 0, 0], options, &peaks)
    return _to_array(peaks, dtype)


def label(const uint8_t[:, :, ::1] foreground, int32_t[:, :, ::1] labels):
    cdef Shape shape
    cdef int32_t n
    shape.panel = <int32_t>foreground.shape[0]
    shape.ss = <int32_t>foreground.shape[1]
    shape.fs = <int32_t>foreground.shape[2]
    with nogil:
        n = c_label(shape, &foreground[0, 0, 0], &labels[0, 0, 0])
    return n


def measure(frame, const int32_t[:, :, ::1] labels, int32_t n, const float[:, :, ::1] background,
            const float[:, :, ::1] variance, const float[:, :, ::1] score, dtype):
    cdef vector[Peak] peaks
    cdef const void* data = _address(frame)
    cdef Dtype kind = _dtype(frame)
    cdef Shape shape = _shape(frame)
    cdef const float* scores = NULL
    if score is not None:
        scores = &score[0, 0, 0]
    with nogil:
        c_measure(shape, kind, data, &labels[0, 0, 0], n, &background[0, 0, 0], &variance[0, 0, 0], scores, &peaks)
    return _to_array(peaks, dtype)


def draw_spots(spots, float[:, :, ::1] expected):
    cdef Shape shape
    cdef size_t address = spots.__array_interface__["data"][0]
    cdef int64_t n = len(spots)
    shape.panel = <int32_t>expected.shape[0]
    shape.ss = <int32_t>expected.shape[1]
    shape.fs = <int32_t>expected.shape[2]
    with nogil:
        c_draw_spots(shape, <const Spot*>address, n, &expected[0, 0, 0])


def count_photons(float[:, :, ::1] photons, uint64_t seed):
    cdef int64_t n = photons.shape[0] * photons.shape[1] * photons.shape[2]
    with nogil:
        c_count_photons(&photons[0, 0, 0], n, seed)


def read_out(const float[:, :, ::1] photons, float[:, :, ::1] frame, *, float offset, float gain,
             float gain_spread, float read_noise, float low, float high, bint whole, uint64_t pixel_seed,
             uint64_t seed):
    cdef Readout readout = Readout(offset, gain, gain_spread, read_noise, low, high, whole)
    cdef int64_t n = photons.shape[0] * photons.shape[1] * photons.shape[2]
    with nogil:
        c_read_out(&photons[0, 0, 0], n, readout, pixel_seed, seed, &frame[0, 0, 0])


#: What the device's arrays and grids are sized by.
DEVICE = {
    "lanes": kDeviceLanes, "group": kDeviceGroup, "tile": kTile, "sums": kSums, "sweep_ss": kSweepSs,
    "sweep_fs": kSweepFs, "hidden": kMostHidden, "features": kFeatures, "team_threads": kTeamThreads, "most_candidates": kMostCandidates,
    "frame_counts": kFrameCounts, "noise_bytes": sizeof(Noise), "samples": kSamplesPerBin, "windows": kWindows, "conv_channels": kConvChannels,
    "passes": kPasses,
    "noise_passes": kNoisePasses, "block": kDeviceBlock, "classes": kSegmentationClasses,
}


cdef _struct(const vector[Field]& fields, size_t size):
    """The dtype of a struct that kernels are given."""
    names = [fields[i].name.decode() for i in range(fields.size())]
    formats = [fields[i].format.decode() for i in range(fields.size())]
    offsets = [fields[i].offset for i in range(fields.size())]
    dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
    for i in range(fields.size()):
        assert dtype.fields[names[i]][0].itemsize == fields[i].size, names[i]
    return dtype


cdef _kernels(const vector[Kernel]& kernels):
    names = [kernels[i].name.decode() for i in range(kernels.size())]
    takes_frames = {names[i]: kernels[i].takes_frames for i in range(kernels.size())}
    return takes_frames, {names[i]: kernels[i].team for i in range(kernels.size()) if kernels[i].team}


#: What kernels are given, as the compiler lays it out.
PROPOSER_BATCH = _struct(c_proposer_batch_fields(), sizeof(ProposerBatch))
PEAKFINDER8_BATCH = _struct(c_peakfinder8_batch_fields(), sizeof(DeviceBatch))
CONV_LAYER = _struct(c_conv_layer_fields(), sizeof(ConvLayer))
#: The kernels of the candidate and segmentation finders, and whether they are given the frames; threads of their teams.
PROPOSER_KERNELS, PROPOSER_TEAMS = _kernels(c_proposer_kernels())
#: Frames and share of frames in which a pixel that is bad stood alone; significance of it, and of the eight around it.
BAD_PIXEL = (kBadFrames, float(f"{kBadShare:.6g}"), kAlone, kDark)


def peakfinder8_twin(str kernel, batch, frames):
    """Run a device kernel's body on the host. batch: a struct as peakrt.gpu.peakfinder8 packs it, host addresses."""
    name = kernel.encode()
    cdef const char* chosen = name
    cdef const DeviceBatch* fields = <const DeviceBatch*>_address(batch)
    cdef const void* data = _address(frames)
    cdef Dtype kind = _dtype(frames)
    with nogil:
        c_peakfinder8_twin(chosen, dereference(fields), kind, data)


def proposer_twin(str kernel, batch, frames):
    """Run a device kernel's body on the host. batch: a struct as peakrt.gpu.candidate packs it, host addresses."""
    name = kernel.encode()
    cdef const char* chosen = name
    cdef const ProposerBatch* fields = <const ProposerBatch*>_address(batch)
    cdef const void* data = _address(frames)
    cdef Dtype kind = _dtype(frames)
    with nogil:
        c_proposer_twin(chosen, dereference(fields), kind, data)


def conv_twin(layer):
    """Run a convolution's body on the host. layer: a struct as peakrt.gpu.segmentation packs it, host addresses."""
    cdef const ConvLayer* fields = <const ConvLayer*>_address(layer)
    with nogil:
        c_conv_twin(dereference(fields))


def to_half(float value):
    """Bits of the nearest half, as the device makes them."""
    return c_to_half(value)


cdef class SoundFile:
    """An HDF5 file that any reader opens after every single write, as h5py takes a file object.

    No signal is handled while HDF5 calls in here, so that an interrupt does not tear a write; and the interpreter's lock
    stays held, so that no other thread comes upon an HDF5 half way through a call.
    """
    cdef SoundFileBytes* _bytes
    cdef int64_t _at

    def __cinit__(self, int descriptor):
        self._bytes = new SoundFileBytes(descriptor)

    def __dealloc__(self):
        del self._bytes

    @property
    def error(self):
        return self._bytes.error()

    def seek(self, int64_t offset, int whence=0):
        self._at = offset + (0 if whence == 0 else self._at if whence == 1 else self._bytes.size())
        return self._at

    def tell(self):
        return self._at

    def read(self, int64_t n=-1):
        rest = max(0, self._bytes.size() - self._at)
        data = bytearray(rest if n < 0 else min(n, rest))
        self.readinto(data)
        return bytes(data)

    def readinto(self, uint8_t[::1] data):
        cdef int64_t n = data.shape[0]
        if n:
            self._bytes.read(self._at, &data[0], n)
        self._at += n
        return n

    def write(self, const uint8_t[::1] data):
        cdef int64_t n = data.shape[0]
        if n:
            self._bytes.write(self._at, &data[0], n)
        self._at += n
        return n

    def truncate(self, int64_t size):
        self._bytes.truncate(size)
        return size

    def flush(self):
        pass


def fit_profiles(const float[:, :, ::1] photons, const uint16_t[:, :, ::1] regions, starts, int radius, dtype):
    fits = np.empty(len(starts), dtype)
    cdef Shape shape = _shape(photons)
    cdef int64_t n = len(starts)
    cdef const ProfileStart* start = <const ProfileStart*>_address(starts)
    cdef size_t address = fits.__array_interface__["data"][0]
    with nogil:
        c_fit_profiles(shape, &photons[0, 0, 0], &regions[0, 0, 0], start, n, radius, <ProfileFit*>address)
    return fits

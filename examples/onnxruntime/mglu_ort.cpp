// SPDX-License-Identifier: MIT
/*
 * GatedLinearUnit, an operator of ONNX Runtime in the domain mglu, computed on the threads of the session:
 *
 *     x [..., h], weight [d, h], second, down [o, d] (optional)  ->  y [..., o], or [..., d] without down
 *
 * second is either value_weight [d, h], or masks: the words of a packed file, uint32 [d, ceil(h / 32), n_m]. x and y
 * have one type: float, float16 or bfloat16. The others are initializers; a matrix has any of these types.
 */
#define ORT_API_MANUAL_INIT
#include <cstdlib>
#include <memory>
#include <mglu/mglu.h>
#include <onnxruntime_cxx_api.h>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

enum { X, WEIGHT, SECOND, DOWN, INPUTS };

static void check(mglu_status status)
{
    if (status != MGLU_OK)
        throw std::runtime_error(std::string("mglu: ") + mglu_last_error());
}

/* Calls a function whose exceptions must not leave the library. */
template <typename Function> static OrtStatusPtr status_of(Function function)
{
    try {
        function();
        return nullptr;
    } catch (const std::exception &error) {
        return Ort::GetApi().CreateStatus(ORT_FAIL, error.what());
    }
}

static mglu_dtype dtype_of(ONNXTensorElementDataType type)
{
    return type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT      ? MGLU_DTYPE_F32
           : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16  ? MGLU_DTYPE_F16
           : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16 ? MGLU_DTYPE_BF16
                                                            : (mglu_dtype)MGLU_DTYPE_COUNT; /* masks, or refused */
}

static Ort::ConstValue initializer(const Ort::ConstKernelInfo &info, size_t index)
{
    int is_initializer;
    const Ort::ConstValue value = info.GetTensorConstantInput(index, &is_initializer);
    if (!is_initializer)
        throw std::runtime_error("mglu: weights and masks must be initializers");
    return value;
}

/* 0 for a dimension that the tensor does not have. */
static int64_t size_of(const Ort::ConstValue &value, size_t dimension)
{
    const std::vector<int64_t> shape = value.GetTensorTypeAndShapeInfo().GetShape();
    return dimension < shape.size() ? shape[dimension] : 0;
}

static mglu_array read(const Ort::ConstValue &value, const std::vector<int64_t> &expected)
{
    const auto info = value.GetTensorTypeAndShapeInfo();
    if (info.GetShape() != expected)
        throw std::runtime_error("mglu: expected weight [d, h], value_weight [d, h] or masks, down [o, d]");
    return {value.GetTensorRawData(), dtype_of(info.GetElementType()), 0, nullptr, 0};
}

static mglu_weights_desc describe(const Ort::ConstKernelInfo &info)
{
    const Ort::ConstValue weight = initializer(info, WEIGHT), second = initializer(info, SECOND);
    mglu_weights_desc desc = MGLU_WEIGHTS_DESC_INIT;
    const int64_t d = desc.intermediate_size = size_of(weight, 0), h = desc.hidden_size = size_of(weight, 1);

    desc.flags = MGLU_WEIGHTS_BORROW; /* initializers live as long as the session */
    desc.weight = read(weight, {d, h});
    desc.dtype = desc.weight.dtype;
    if (second.GetTensorTypeAndShapeInfo().GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32) {
        desc.n_masks = static_cast<int32_t>(size_of(second, 2));
        desc.masks = {read(second, {d, (h + 31) / 32, desc.n_masks}).data, MGLU_MASK_WORDS};
    } else {
        desc.kind = MGLU_KIND_PLAIN;
        desc.value_weight = read(second, {d, h});
    }
    if (info.GetInputCount() > DOWN) {
        const Ort::ConstValue down = initializer(info, DOWN);
        desc.output_size = size_of(down, 0);
        desc.down = read(down, {desc.output_size, d});
    }
    return desc;
}

/* mglu_parallel.parallel_for, on the threads of the session. */
static void run_loop(void *context, int64_t count, mglu_task task, void *argument)
{
    std::pair<mglu_task, void *> loop(task, argument);
    const auto run_task = [](void *user, size_t index) {
        const auto [function, its_argument] = *static_cast<decltype(loop) *>(user);
        function(its_argument, static_cast<int64_t>(index));
    };
    static_cast<Ort::KernelContext *>(context)->ParallelFor(run_task, static_cast<size_t>(count), 0, &loop);
}

/* One node of a graph. */
struct Kernel {
    mglu_weights_desc desc = MGLU_WEIGHTS_DESC_INIT;
    mglu_context *context = nullptr;
    mglu_weights *weights = nullptr;
    mglu_layer *layer = nullptr;

    Kernel() = default; /* complete from here on: what throws below is followed by the destructor */
    Kernel(const Ort::ConstKernelInfo &info, ONNXTensorElementDataType type) : Kernel()
    {
        mglu_layer_desc layer_desc = MGLU_LAYER_DESC_INIT;
        mglu_device *device;
        desc = describe(info);
        layer_desc.x_dtype = layer_desc.y_dtype = dtype_of(type);
        layer_desc.max_batch = MGLU_MAX_BATCH;
        check(mglu_context_create(nullptr, &context));
        check(mglu_device_pick(context, "host", &device));
        check(mglu_weights_create(device, &desc, &weights));
        check(mglu_layer_create(weights, &layer_desc, &layer));
    }
    ~Kernel()
    {
        mglu_layer_destroy(&layer);
        mglu_weights_destroy(&weights);
        mglu_context_destroy(&context);
    }
    void forward(Ort::KernelContext call) const
    {
        const Ort::ConstValue x = call.GetInput(X);
        const auto info = x.GetTensorTypeAndShapeInfo();
        std::vector<int64_t> shape = info.GetShape();
        mglu_forward_args args = MGLU_FORWARD_ARGS_INIT;
        const mglu_parallel threads = {&call, run_loop, 0 /* ONNX Runtime does not say how many */};
        if (desc.hidden_size == 0 || shape.empty() || shape.back() != desc.hidden_size)
            throw std::runtime_error("mglu: expected x [..., " + std::to_string(desc.hidden_size) + "]");
        args.batch = static_cast<int64_t>(info.GetElementCount()) / desc.hidden_size;
        shape.back() = desc.down.data ? desc.output_size : desc.intermediate_size;
        args.x.data = x.GetTensorRawData();
        args.y.data = call.GetOutput(0, shape).GetTensorMutableRawData();
        args.workspace_size = mglu_layer_workspace_size_for(layer, args.batch);
        const std::unique_ptr<void, void (*)(void *)> memory(aligned_alloc(64, args.workspace_size), std::free);
        args.workspace = memory.get();
        args.parallel = &threads;
        check(mglu_forward(layer, nullptr, &args));
    }
    OrtStatusPtr ComputeV2(OrtKernelContext *context) const
    {
        return status_of([&] { forward(Ort::KernelContext(context)); });
    }
};

/* An operator for each type of x. */
template <ONNXTensorElementDataType TYPE> struct Operator : Ort::CustomOpBase<Operator<TYPE>, Kernel, true> {
    OrtStatusPtr CreateKernelV2(const OrtApi &, const OrtKernelInfo *info, void **kernel) const
    {
        return status_of([&] { *kernel = new Kernel(Ort::ConstKernelInfo(info), TYPE); });
    }
    const char *GetName() const
    {
        return "GatedLinearUnit";
    }
    size_t GetInputTypeCount() const
    {
        return INPUTS;
    }
    size_t GetOutputTypeCount() const
    {
        return 1;
    }
    ONNXTensorElementDataType GetInputType(size_t index) const
    {
        return index == X ? TYPE : ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED; /* any */
    }
    ONNXTensorElementDataType GetOutputType(size_t) const
    {
        return TYPE;
    }
    OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(size_t index) const
    {
        return index == DOWN ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
    }
};

extern "C" ORT_EXPORT OrtStatus *ORT_API_CALL RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base)
{
    Ort::InitApi(base->GetApi(ORT_API_VERSION));
    return status_of([&] {
        Ort::CustomOpDomain domain("mglu");
        domain.Add(new Operator<ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT>);
        domain.Add(new Operator<ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16>);
        domain.Add(new Operator<ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16>);
        Ort::UnownedSessionOptions(options).Add(domain);
        domain.release(); /* this and the operators are never freed: sessions refer to them */
    });
}
